//! A round: the guest starts on what the last cut has left, everything is looked at, then images come and go until the
//! power fails again.

mod operations;
mod phase;

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

pub use self::phase::Phase;
use self::{
    operations::Operation,
    phase::{Extent, TARGETS, extents},
};
use crate::{
    chance::Chance,
    disk::{Disk, Lost, Survival, Traffic},
    guest::{Guest, Machine, Stop, make_file_system},
    images::Images,
    verify::{self, Mounted},
};

/// The name under which the guest's daemon knows the registry.
const REGISTRY: &str = "images.test";
/// The disk's size in bytes; XFS wants at least 300 MiB.
const DISK: u64 = 320 << 20;

/// What is known of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// The daemon said that it was pulled.
    Present,
    /// The daemon said that it was removed, or it never was there.
    Absent,
    /// The power failed before the daemon could say.
    Open,
}

/// A cut.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// What the guest was doing.
    pub phase: Phase,
    /// How many commands of that had been answered.
    pub answered: usize,
    /// What had been asked of the disk in that phase.
    pub traffic: Traffic,
    /// What became of the disk's cache.
    pub survival: Survival,
    /// How much was in it.
    pub lost: Lost,
    /// Whether all had been looked at since the cut before.
    pub verified: bool,
    /// How many images the daemon had then.
    pub listed: usize,
}

/// A guest with a disk, cut after cut.
pub struct Lane {
    machine: Machine,
    name: String,
    disk: Disk,
    blank: PathBuf,
    kind: String,
    images: Arc<Images>,
    known: Vec<Known>,
    /// Whether a file is broken because we broke it.
    damaged: bool,
    running: HashMap<u64, Operation>,
    chance: Chance,
    extents: HashMap<Phase, Extent>,
    target: Phase,
    armed: bool,
    phase: Phase,
    since: (Instant, Traffic),
    answered: usize,
    verified: bool,
    mended: usize,
}

/// The daemon's configuration, with a registry at this port of the machine that the guest runs on.
pub fn configuration(port: u16) -> String {
    format!(
        "root = \"/disk/corten\"\nstate = \"/run/corten\"\nsocket = \"/run/corten.sock\"\n[registry.hosts.\"{REGISTRY}\"]\n\
         server = \"http://10.0.2.2:{port}\"\n"
    )
}

impl Lane {
    /// A lane with an empty file system.
    pub fn new(machine: Machine, name: &str, kind: &str, images: Arc<Images>, seed: u64) -> Result<Self, Stop> {
        let blank = machine.directory.join(format!("{name}.blank"));
        make_file_system(kind, &blank, DISK)?;
        let disk = Disk::new(&blank, machine.directory.join(format!("{name}.disk")))?;
        Ok(Self {
            name: name.to_owned(),
            known: vec![Known::Absent; images.all.len()],
            kind: kind.to_owned(),
            damaged: false,
            running: HashMap::new(),
            chance: Chance::new(seed),
            target: Phase::Open,
            armed: false,
            phase: Phase::Open,
            since: (Instant::now(), Traffic::default()),
            answered: 0,
            verified: false,
            mended: 0,
            machine,
            disk,
            blank,
            images,
            extents: extents(),
        })
    }

    /// Its disk.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// How often its file system could be mounted only after a repair.
    pub fn mended(&self) -> usize {
        self.mended
    }

    /// Starts, looks at all, works until the power fails.
    pub fn round(&mut self) -> Result<Cut, String> {
        self.target = *self.chance.pick(&TARGETS);
        let mut listed = 0;
        let stop = match self.start() {
            Err(stop) => stop,
            Ok(mut guest) => {
                let Err(stop) = self.live(&mut guest, &mut listed);
                self.disk.power_off();
                for answer in guest.kill() {
                    // What failed now failed for want of power.
                    let _ = self.hear(&answer);
                }
                stop
            }
        };
        self.running.clear();
        match stop {
            Stop::Fault(what) => Err(format!("{what} (in {:?})", self.phase)),
            Stop::Cut => {
                let (now, before) = (self.disk.traffic(), self.since.1);
                let survival = *self.chance.pick(&Survival::ALL);
                let lost = self.disk.lose(survival, &mut self.chance);
                let traffic = Traffic { writes: now.writes - before.writes, flushes: now.flushes - before.flushes };
                let (phase, answered, verified) = (self.phase, self.answered, self.verified);
                Ok(Cut { phase, answered, traffic, survival, lost, verified, listed })
            }
        }
    }

    /// Starts without a cut to come: all that there is can be pulled, and removed, and then nothing is left.
    pub fn finish(&mut self) -> Result<(), String> {
        let finish = |lane: &mut Self| -> Result<(), Stop> {
            let mut guest = lane.start()?;
            lane.armed = true;
            lane.open(&mut guest)?;
            lane.verify(&mut guest)?;
            lane.pull(&mut guest, &lane.with(Known::Absent))?;
            if lane.verify(&mut guest)? != lane.images.all.len() {
                return Err(Stop::Fault("not all images are listed that were pulled".into()));
            }
            lane.remove(&mut guest, &lane.with(Known::Present))?;
            // What is removed is gone at once, and deleted by and by.
            guest.run("until [ -z \"$(ls /disk/corten/images/t)\" ]; do sleep 0.1; done")?;
            lane.verify(&mut guest)?;
            lane.disk.power_off();
            guest.kill();
            Ok(())
        };
        let result = finish(self);
        self.disk.power_off();
        result.map_err(|stop| format!("at the end: {stop:?}"))
    }

    /// Keeps what is there for study and goes on with an empty disk.
    pub fn keep(&mut self, to: &Path) -> Result<(), Stop> {
        fs::create_dir_all(to)?;
        self.disk.write_to(&to.join("disk"))?;
        for log in ["console", "transcript"] {
            fs::copy(self.machine.directory.join(format!("{}.{log}", self.name)), to.join(log))?;
        }
        self.disk = Disk::new(&self.blank, self.disk.socket().to_owned())?;
        self.known.fill(Known::Absent);
        self.damaged = false;
        Ok(())
    }

    fn start(&mut self) -> Result<Guest, Stop> {
        (self.armed, self.verified, self.answered) = (false, false, 0);
        (self.phase, self.since) = (Phase::Open, (Instant::now(), Traffic::default()));
        self.machine.resume(&self.disk, &self.name)
    }

    fn live(&mut self, guest: &mut Guest, listed: &mut usize) -> Result<std::convert::Infallible, Stop> {
        self.open(guest)?;
        *listed = self.verify(guest)?;
        if self.chance.one_in(2) {
            self.pull(guest, &self.with(Known::Absent))?;
        }
        loop {
            let (present, absent) = (self.with(Known::Present), self.with(Known::Absent));
            let (some, others) = (self.some_of(&present), self.some_of(&absent));
            match self.target {
                Phase::Remove if !present.is_empty() => self.remove(guest, &some)?,
                Phase::Repair if !present.is_empty() => self.repair(guest)?,
                Phase::Both if !present.is_empty() && !absent.is_empty() => self.both(guest, &some, &others)?,
                _ if absent.is_empty() => self.remove(guest, &some)?,
                _ => self.pull(guest, &others)?,
            }
        }
    }

    fn with(&self, known: Known) -> Vec<usize> {
        (0..self.known.len()).filter(|image| self.known[*image] == known).collect()
    }

    /// At least one, if there is one; all of them half of the time.
    fn some_of(&mut self, from: &[usize]) -> Vec<usize> {
        if self.chance.one_in(2) {
            return from.to_vec();
        }
        let mut some: Vec<_> = from.iter().copied().filter(|_| self.chance.one_in(2)).collect();
        if some.is_empty() && !from.is_empty() {
            some.push(*self.chance.pick(from));
        }
        some
    }

    /// Enters a phase; the power may be to fail in it.
    fn enter(&mut self, guest: &mut Guest, phase: Phase) {
        let now = (Instant::now(), self.disk.traffic());
        (self.phase, self.since, self.answered) = (phase, now, 0);
        let Some(extent) = self.extents.get(&phase).copied().filter(|_| !self.armed && phase == self.target) else {
            return;
        };
        self.armed = true;
        if self.chance.one_in(2) {
            let most = u64::try_from(extent.time.as_micros()).unwrap_or(u64::MAX);
            guest.fail_in(Duration::from_micros(self.chance.below(most)));
        } else {
            self.disk.fail_after(1 + self.chance.below(extent.requests));
        }
    }

    /// The phase has ended: how long it took is known better.
    fn leave(&mut self) {
        let (traffic, before) = (self.disk.traffic(), self.since.1);
        let requests = traffic.writes + traffic.flushes - before.writes - before.flushes;
        if let Some(extent) = self.extents.get_mut(&self.phase) {
            extent.time = (extent.time * 3 + self.since.0.elapsed()) / 4;
            extent.requests = (extent.requests * 3 + requests).div_ceil(4);
        }
    }

    fn open(&mut self, guest: &mut Guest) -> Result<(), Stop> {
        self.enter(guest, Phase::Open);
        guest.run("insmod /modules/virtio_blk.ko && until [ -b /dev/vda ]; do sleep 0.1; done")?;
        self.mount(guest)?;
        guest.run(
            "mkdir -p /disk/corten && { cortend --config /run/config.toml >/dev/ttyS0 2>&1 & } && daemon=$! && \
             until [ -S /run/corten.sock ]; do kill -0 $daemon || exit 1; sleep 0.1; done",
        )?;
        self.leave();
        Ok(())
    }

    /// Mounts the disk as a node does that boots. ext4 does not stand every torn write: what its own checker then leaves is
    /// taken as it is. Nothing is held against the daemon that is lost so; what it lists has to be whole nevertheless, after
    /// `corten check --repair`.
    fn mount(&mut self, guest: &mut Guest) -> Result<(), Stop> {
        const MENDED: &str = "mended by e2fsck";
        let mount = format!("mount -t {} /dev/vda /disk", self.kind);
        let command = match self.kind.as_str() {
            "ext4" => format!("{mount} || {{ e2fsck -fy /dev/vda; [ $? -lt 4 ] && {mount} && echo {MENDED}; }}"),
            _ => mount,
        };
        if guest.run(&command)?.contains(MENDED) {
            self.mended += 1;
            self.damaged = true;
            self.known.fill(Known::Open);
        }
        Ok(())
    }

    /// Compares everything; how many images there are.
    fn verify(&mut self, guest: &mut Guest) -> Result<usize, Stop> {
        if self.damaged {
            self.enter(guest, Phase::Repair);
            self.mend(guest)?;
        }
        self.enter(guest, Phase::Verify);
        let listed = self.list(guest)?;
        for (number, image) in self.images.all.iter().enumerate() {
            let id = listed.get(&name(&image.name));
            if id.is_some_and(|id| *id != image.id) {
                return Err(Stop::Fault(format!("{} is listed with the wrong id {id:?}", image.name)));
            }
            self.known[number] = match (self.known[number], id) {
                (Known::Present, None) => return Err(Stop::Fault(format!("{} was pulled and is lost", image.name))),
                (Known::Absent, Some(_)) => return Err(Stop::Fault(format!("{} was removed and is back", image.name))),
                (_, Some(_)) => Known::Present,
                (_, None) => Known::Absent,
            };
        }
        guest.run("sync")?;
        let copy = self.machine.directory.join(format!("{}.copy", self.name));
        self.disk.write_to(&copy)?;
        let at = self.machine.directory.join(format!("{}.mounted", self.name));
        let mounted = Mounted::new(&copy, &self.kind, &at).map_err(Stop::Fault)?;
        let wrong = verify::store(&at.join("corten/images"), &self.images, &listed).map_err(Stop::Fault)?;
        drop(mounted);
        if !wrong.is_empty() {
            return Err(Stop::Fault(wrong.join("\n  ")));
        }
        self.verified = true;
        self.leave();
        Ok(listed.len())
    }
}

fn name(image: &str) -> String {
    format!("{REGISTRY}/{image}")
}
