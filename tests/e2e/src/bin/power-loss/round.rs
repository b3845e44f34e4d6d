//! A round: the guest starts on what the last cut has left, everything is looked at, then images come and go until the
//! power fails again.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    chance::Chance,
    disk::{Disk, Lost, Survival, Traffic},
    guest::{Answer, Guest, Machine, Stop, make_file_system},
    images::Images,
    verify::{self, Mounted},
};

/// The name under which the guest's daemon knows the registry.
const REGISTRY: &str = "images.test";
/// The disk's size in bytes; XFS wants at least 300 MiB.
const DISK: u64 = 320 << 20;

/// What the guest is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// The file system is mounted and the daemon opens its store, and clears up.
    Open,
    /// The daemon lists its images; all is looked at.
    Verify,
    /// Images are pulled, several at a time.
    Pull,
    /// Images are removed.
    Remove,
    /// Some are removed while others are pulled.
    Both,
    /// A file of a layer was damaged; `corten check --repair` finds and mends it.
    Repair,
}

/// In which phase the power is to fail, some more often.
const TARGETS: [Phase; 12] = [
    Phase::Open,
    Phase::Open,
    Phase::Verify,
    Phase::Pull,
    Phase::Pull,
    Phase::Pull,
    Phase::Pull,
    Phase::Remove,
    Phase::Both,
    Phase::Both,
    Phase::Repair,
    Phase::Repair,
];

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

/// A command that goes on.
#[derive(Debug, Clone, Copy)]
enum Operation {
    Pull(usize),
    Remove(usize),
    Repair,
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

/// How long a phase takes as a rule, and how many requests of the disk.
#[derive(Debug, Clone, Copy)]
struct Extent {
    time: Duration,
    requests: u64,
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
        let extent = |time, requests| Extent { time: Duration::from_millis(time), requests };
        let extents = HashMap::from([
            (Phase::Open, extent(2500, 60)),
            (Phase::Verify, extent(1000, 10)),
            (Phase::Pull, extent(5000, 300)),
            (Phase::Remove, extent(1000, 60)),
            (Phase::Both, extent(5000, 300)),
            (Phase::Repair, extent(4000, 150)),
        ]);
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
            machine,
            disk,
            blank,
            images,
            extents,
        })
    }

    /// Its disk.
    pub fn disk(&self) -> &Disk {
        &self.disk
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
        guest.run(&format!(
            "insmod /modules/virtio_blk.ko && until [ -b /dev/vda ]; do sleep 0.1; done && \
             mount -t {} /dev/vda /disk && mkdir -p /disk/corten && \
             {{ cortend --config /run/config.toml >/dev/ttyS0 2>&1 & }} && daemon=$! && \
             until [ -S /run/corten.sock ]; do kill -0 $daemon || exit 1; sleep 0.1; done",
            self.kind
        ))?;
        self.leave();
        Ok(())
    }

    /// Compares everything; how many images there are.
    fn verify(&mut self, guest: &mut Guest) -> Result<usize, Stop> {
        if self.damaged {
            self.enter(guest, Phase::Repair);
            self.mend(guest)?;
        }
        self.enter(guest, Phase::Verify);
        let listed = listed(&self.list(guest)?)?;
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

    fn list(&self, guest: &mut Guest) -> Result<String, Stop> {
        loop {
            guest.begin("corten images --output json")?;
            let answer = guest.wait()?;
            match answer.status {
                0 => return Ok(answer.output),
                _ if too_slow(&answer) => {}
                status => return Err(Stop::Fault(format!("corten images: status {status}: {}", answer.output))),
            }
        }
    }

    fn pull(&mut self, guest: &mut Guest, images: &[usize]) -> Result<(), Stop> {
        self.enter(guest, Phase::Pull);
        images.iter().try_for_each(|image| self.begin(guest, Operation::Pull(*image)))?;
        self.wait(guest)
    }

    fn remove(&mut self, guest: &mut Guest, images: &[usize]) -> Result<(), Stop> {
        self.enter(guest, Phase::Remove);
        images.iter().try_for_each(|image| self.begin(guest, Operation::Remove(*image)))?;
        self.wait(guest)
    }

    fn both(&mut self, guest: &mut Guest, removed: &[usize], pulled: &[usize]) -> Result<(), Stop> {
        self.enter(guest, Phase::Both);
        pulled.iter().try_for_each(|image| self.begin(guest, Operation::Pull(*image)))?;
        removed.iter().try_for_each(|image| self.begin(guest, Operation::Remove(*image)))?;
        self.wait(guest)
    }

    fn repair(&mut self, guest: &mut Guest) -> Result<(), Stop> {
        self.damaged = true;
        let file = 1 + self.chance.below(400);
        guest.run(&format!(
            "file=$(find /disk/corten/images/l/*/ -type f -size +0 | head -n {file} | tail -n 1) && echo broken >$file"
        ))?;
        self.enter(guest, Phase::Repair);
        self.mend(guest)
    }

    fn mend(&mut self, guest: &mut Guest) -> Result<(), Stop> {
        self.begin(guest, Operation::Repair)?;
        self.wait(guest)
    }

    fn begin(&mut self, guest: &mut Guest, operation: Operation) -> Result<(), Stop> {
        let command = match operation {
            Operation::Pull(image) => {
                self.known[image] = Known::Open;
                format!("corten pull {}", name(&self.images.all[image].name))
            }
            Operation::Remove(image) => {
                self.known[image] = Known::Open;
                format!("corten image rm {}", name(&self.images.all[image].name))
            }
            Operation::Repair => "corten check --repair".to_owned(),
        };
        let number = guest.begin(&command)?;
        self.running.insert(number, operation);
        Ok(())
    }

    /// Waits for all that was begun.
    fn wait(&mut self, guest: &mut Guest) -> Result<(), Stop> {
        while !self.running.is_empty() {
            let answer = guest.wait()?;
            if too_slow(&answer) {
                if let Some(operation) = self.running.remove(&answer.number) {
                    self.begin(guest, operation)?;
                }
                continue;
            }
            self.hear(&answer)?;
        }
        self.leave();
        Ok(())
    }

    fn hear(&mut self, answer: &Answer) -> Result<(), Stop> {
        let Some(operation) = self.running.remove(&answer.number) else { return Ok(()) };
        if answer.status != 0 {
            return Err(Stop::Fault(format!("{operation:?}: status {}: {}", answer.status, answer.output)));
        }
        self.answered += 1;
        match operation {
            Operation::Pull(image) => self.known[image] = Known::Present,
            Operation::Remove(image) => self.known[image] = Known::Absent,
            Operation::Repair => self.damaged = false,
        }
        Ok(())
    }
}

fn name(image: &str) -> String {
    format!("{REGISTRY}/{image}")
}

/// Whether the command gave up before it asked for anything: on a busy machine the guest may stand still for seconds.
fn too_slow(answer: &Answer) -> bool {
    answer.status != 0 && answer.output.contains("connect to /run/corten.sock: ")
}

/// Tags with the ids of their images.
fn listed(answer: &str) -> Result<BTreeMap<String, String>, Stop> {
    let bad = |why: &dyn std::fmt::Display| Stop::Fault(format!("bad list of images: {why}: {answer}"));
    let answer: Value = serde_json::from_str(answer).map_err(|error| bad(&error))?;
    let mut listed = BTreeMap::new();
    for image in answer["images"].as_array().into_iter().flatten() {
        let id = image["id"].as_str().ok_or_else(|| bad(&"an image without an id"))?;
        let tags = image["repoTags"].as_array().into_iter().flatten().filter_map(Value::as_str);
        listed.extend(tags.map(|tag| (tag.to_owned(), id.to_owned())));
    }
    Ok(listed)
}
