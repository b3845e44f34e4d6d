//! The guest: qemu without KVM, one processor, its memory, and the shell in it that does what it is told.
//!
//! It is booted once, up to the point where all is ready but the disk's driver is not loaded. That state is saved and each
//! round goes on from it: the guest's memory can have nothing of the disk, as after any boot, which takes longer.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, BufRead, BufReader, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use crate::disk::Disk;

/// How long anything in the guest may take before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(240);

/// How long a greeting may take before there is another, first; then twice as long each time.
const GREETING: Duration = Duration::from_millis(150);

/// What happens while a guest runs.
#[derive(Debug)]
pub enum Event {
    /// It says something.
    Line(String),
    /// The disk's power has failed.
    PowerLost,
    /// It is gone.
    Ended,
}

/// Why something was not done.
#[derive(Debug)]
pub enum Stop {
    /// There was no power any more.
    Cut,
    /// It went wrong.
    Fault(String),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Fault(error.to_string())
    }
}

/// How a command ended.
#[derive(Debug)]
pub struct Answer {
    /// Its number.
    pub number: u64,
    /// Its exit status.
    pub status: i32,
    /// What it printed.
    pub output: String,
}

/// What a guest is made of.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The kernel's image.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initramfs: PathBuf,
    /// Where its files of this run are.
    pub directory: PathBuf,
}

/// A running guest. Killed when dropped.
pub struct Guest {
    process: Child,
    events: Receiver<Event>,
    control: UnixStream,
    /// All that was said, for whoever studies a failure.
    transcript: File,
    next: u64,
    outputs: HashMap<u64, String>,
    /// When the power is to fail.
    deadline: Option<Instant>,
    disk: Disk,
}

impl Machine {
    fn saved(&self) -> PathBuf {
        self.directory.join("booted")
    }

    /// Boots it, with this configuration of the daemon, and saves its state.
    pub fn boot(&self, disk: &Disk, configuration: &str) -> Result<(), Stop> {
        let mut guest = self.start(disk, "boot", &[])?;
        if guest.next_answer()?.number != 0 {
            return Err(Stop::Fault("the guest does not say that it has booted".into()));
        }
        for line in configuration.lines() {
            guest.run(&format!("echo '{line}' >>/run/config.toml"))?;
        }
        let mut monitor = guest.process.stdin.take().ok_or_else(|| Stop::Fault("qemu has no monitor".into()))?;
        writeln!(monitor, "migrate \"exec:cat > {}\"\nquit", self.saved().display())?;
        let status = guest.process.wait()?;
        disk.power_off();
        match fs::metadata(self.saved()).map(|saved| saved.len()) {
            Ok(1..) if status.success() => Ok(()),
            saved => Err(Stop::Fault(format!("the state was not saved: qemu {status}, {saved:?}"))),
        }
    }

    /// Goes on from the saved state.
    pub fn resume(&self, disk: &Disk, name: &str) -> Result<Guest, Stop> {
        let mut guest = self.start(disk, name, &["-incoming", &format!("exec:cat {}", self.saved().display())])?;
        guest.greet()?;
        Ok(guest)
    }

    fn start(&self, disk: &Disk, name: &str, more: &[&str]) -> Result<Guest, Stop> {
        let control = self.directory.join(format!("{name}.control"));
        let _ = fs::remove_file(&control);
        let listener = UnixListener::bind(&control)?;
        let (sender, events) = mpsc::channel();
        disk.power_on(sender.clone());
        let log = File::create(self.directory.join(format!("{name}.qemu")))?;
        // It must not outlive us, whatever becomes of us.
        let mut process = Command::new("setpriv")
            .args([
                "--pdeathsig",
                "KILL",
                "qemu-system-x86_64",
                "-accel",
                "tcg",
                "-cpu",
                "max",
                "-M",
                "pc",
                "-m",
                "512",
            ])
            .args(["-smp", "1", "-nodefaults", "-display", "none", "-no-reboot", "-monitor", "stdio"])
            .arg("-kernel")
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(&self.initramfs)
            .args(["-append", "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check"])
            .args(["-serial", &format!("file:{}", self.directory.join(format!("{name}.console")).display())])
            .args(["-serial", &format!("unix:{}", control.display())])
            .args(["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="])
            .args([
                "-blockdev",
                &format!(
                    "driver=raw,node-name=disk,file.driver=nbd,file.server.type=unix,file.server.path={}",
                    disk.socket().display()
                ),
                "-device",
                "virtio-blk-pci,drive=disk,write-cache=on",
            ])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        listener.set_nonblocking(true)?;
        let began = Instant::now();
        let control = loop {
            match listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            if let Some(status) = process.try_wait()? {
                let said = fs::read_to_string(self.directory.join(format!("{name}.qemu")))?;
                return Err(Stop::Fault(format!("qemu does not start: {status}: {said}")));
            }
            if began.elapsed() > PATIENCE {
                process.kill()?;
                process.wait()?;
                return Err(Stop::Fault("qemu does not start".into()));
            }
            thread::sleep(Duration::from_millis(5));
        };
        control.set_nonblocking(false)?;
        let lines = BufReader::new(control.try_clone()?);
        thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let _ = sender.send(Event::Line(line));
            }
            let _ = sender.send(Event::Ended);
        });
        let transcript = File::create(self.directory.join(format!("{name}.transcript")))?;
        let (outputs, disk) = (HashMap::new(), disk.clone());
        Ok(Guest { process, events, control, transcript, next: 1, outputs, deadline: None, disk })
    }
}

impl Guest {
    /// Has the power fail after so long.
    pub fn fail_in(&mut self, time: Duration) {
        self.deadline = Some(Instant::now() + time);
    }

    /// Waits until it hears: while its state is loaded, what is said to it is lost.
    fn greet(&mut self) -> Result<(), Stop> {
        let (give_up, mut patience) = (Instant::now() + PATIENCE, GREETING);
        while Instant::now() < give_up {
            let _ = writeln!(self.control, "0 :");
            patience *= 2;
            match self.events.recv_timeout(patience) {
                Ok(Event::Line(line)) if self.hear(&line).is_some() => return Ok(()),
                Ok(Event::Ended) => return Err(Stop::Fault("the guest ended before it heard anything".into())),
                _ => {}
            }
        }
        Err(Stop::Fault("the guest does not go on".into()))
    }

    /// Has the guest begin a command; its number.
    pub fn begin(&mut self, command: &str) -> Result<u64, Stop> {
        let number = self.next;
        self.next += 1;
        let _ = writeln!(self.transcript, "> {number} {command}");
        // If it is gone, waiting tells why.
        let _ = writeln!(self.control, "{number} {command}");
        Ok(number)
    }

    /// Waits until any command has ended.
    pub fn wait(&mut self) -> Result<Answer, Stop> {
        loop {
            // It may have been greeted more than once.
            let answer = self.next_answer()?;
            if answer.number != 0 {
                return Ok(answer);
            }
        }
    }

    fn next_answer(&mut self) -> Result<Answer, Stop> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let until = self.deadline.map_or(give_up, |deadline| deadline.min(give_up));
            match self.events.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Event::Line(line)) => {
                    if let Some(answer) = self.hear(&line) {
                        return Ok(answer);
                    }
                }
                Ok(Event::PowerLost) => return Err(Stop::Cut),
                Ok(Event::Ended) => return Err(Stop::Fault("the guest ended by itself".into())),
                Err(RecvTimeoutError::Timeout) if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                    self.disk.power_off();
                    return Err(Stop::Cut);
                }
                Err(_) => return Err(Stop::Fault("the guest is stuck".into())),
            }
        }
    }

    /// Runs one command that has to succeed; what it printed.
    pub fn run(&mut self, command: &str) -> Result<String, Stop> {
        let number = self.begin(command)?;
        let answer = self.wait()?;
        match answer.status {
            0 if answer.number == number => Ok(answer.output),
            status => Err(Stop::Fault(format!("{command}: status {status}: {}", answer.output))),
        }
    }

    /// Kills it. The commands that had ended before the power failed and of which nobody has heard.
    pub fn kill(mut self) -> Vec<Answer> {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let mut answers = Vec::new();
        while let Ok(event) = self.events.recv_timeout(PATIENCE) {
            match event {
                Event::Line(line) => answers.extend(self.hear(&line)),
                Event::PowerLost => {}
                Event::Ended => break,
            }
        }
        answers
    }

    fn hear(&mut self, line: &str) -> Option<Answer> {
        let _ = writeln!(self.transcript, "{line}");
        let (number, said) = line.split_once(' ')?;
        let number = number.parse().ok()?;
        if let Some(text) = said.strip_prefix('|') {
            let output = self.outputs.entry(number).or_default();
            output.push_str(text);
            output.push('\n');
            return None;
        }
        let status = said.strip_prefix('=')?.parse().ok()?;
        Some(Answer { number, status, output: self.outputs.remove(&number).unwrap_or_default() })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Makes a file system of this type in a new file of so many bytes.
pub fn make_file_system(kind: &str, path: &Path, bytes: u64) -> Result<(), Stop> {
    File::create(path)?.set_len(bytes)?;
    let mut command = Command::new(format!("/sbin/mkfs.{kind}"));
    if kind == "ext4" {
        // Nothing is left for the kernel to write at its leisure.
        command.args(["-E", "lazy_itable_init=0,lazy_journal_init=0"]);
    }
    let output = command.arg("-q").arg(path).output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(Stop::Fault(format!("mkfs.{kind}: {}", String::from_utf8_lossy(&output.stderr)))),
    }
}
