//! The guest's disk: one that has a volatile cache and uses it as badly as a disk may.
//!
//! qemu reads and writes it over the NBD protocol (fixed newstyle negotiation, simple replies), and passes every flush of
//! the guest on. What is written stays in the cache until the next flush. When the power fails, what was not flushed
//! is lost, or only some of it gets onto the disk, in any order, and of one write some sectors and others not: a disk
//! promises no more than that, except that a sector is written whole or not at all.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::{
        fs::FileExt,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc::Sender},
    thread,
};

use crate::{chance::Chance, guest::Event};

/// What is written whole or not at all, in bytes.
const SECTOR: usize = 512;
/// In what pieces an image is written out.
const PIECE: usize = 64 << 10;

const OPTION: u64 = 0x4948_4156_454F_5054;
const OPTION_REPLY: u64 = 0x0003_E889_0455_65A9;
const REQUEST: u32 = 0x2560_9513;
const REPLY: u32 = 0x6744_6698;
/// There are flags, and flushes.
const EXPORT_FLAGS: u16 = 1 | 4;
/// No request of qemu's is longer.
const LONGEST: usize = 64 << 20;

/// What becomes of the writes since the last flush when the power fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Survival {
    /// None gets onto the disk.
    Nothing,
    /// All do: only what the guest had in its memory is lost.
    Everything,
    /// The first ones do.
    First,
    /// Any do.
    Some,
    /// Any sectors of any do.
    Sectors,
}

impl Survival {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Nothing, Self::Everything, Self::First, Self::Some, Self::Sectors];
}

/// What was lost.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lost {
    /// Writes that were not flushed.
    pub unflushed: usize,
    /// Their bytes.
    pub bytes: usize,
}

/// What the guest has asked of the disk since it got its power.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Traffic {
    /// Writes.
    pub writes: u64,
    /// Flushes.
    pub flushes: u64,
}

/// A disk. Clones are the same one.
#[derive(Clone)]
pub struct Disk {
    content: Arc<Mutex<Content>>,
    socket: PathBuf,
}

struct Content {
    /// As the guest reads it.
    current: Vec<u8>,
    /// As it is without the cache.
    durable: Vec<u8>,
    /// The cache, oldest first: where, and what.
    unflushed: Vec<(usize, Vec<u8>)>,
    traffic: Traffic,
    power: Power,
}

/// Whether the disk has power.
enum Power {
    Off,
    /// It has, until so many more writes and flushes have come. Then somebody is told.
    On {
        left: Option<u64>,
        tell: Sender<Event>,
    },
}

impl Disk {
    /// A disk with the content of `image`, for qemu at `socket`.
    pub fn new(image: &Path, socket: PathBuf) -> io::Result<Self> {
        let durable = fs::read(image)?;
        let current = durable.clone();
        let content =
            Content { current, durable, unflushed: Vec::new(), traffic: Traffic::default(), power: Power::Off };
        let disk = Self { content: Arc::new(Mutex::new(content)), socket };
        let _ = fs::remove_file(&disk.socket);
        let listener = UnixListener::bind(&disk.socket)?;
        let served = disk.clone();
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let disk = served.clone();
                // A guest that is gone ends its connection in the middle of whatever it was doing.
                thread::spawn(move || disk.serve(connection));
            }
        });
        Ok(disk)
    }

    /// Where qemu finds it.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives it power.
    pub fn power_on(&self, tell: Sender<Event>) {
        let mut content = self.content();
        content.traffic = Traffic::default();
        content.power = Power::On { left: None, tell };
    }

    /// Has the power fail before so many more writes and flushes are answered.
    pub fn fail_after(&self, requests: u64) {
        if let Power::On { left, .. } = &mut self.content().power {
            *left = Some(requests);
        }
    }

    /// Takes the power away: nothing is answered any more.
    pub fn power_off(&self) {
        self.content().power = Power::Off;
    }

    /// What was asked of it since it got its power.
    pub fn traffic(&self) -> Traffic {
        self.content().traffic
    }

    /// Decides what of the cache got onto the disk. The power has to be off.
    pub fn lose(&self, survival: Survival, chance: &mut Chance) -> Lost {
        let content = &mut *self.content();
        let unflushed = std::mem::take(&mut content.unflushed);
        let lost = Lost { unflushed: unflushed.len(), bytes: unflushed.iter().map(|(_, data)| data.len()).sum() };
        let first = chance.below(unflushed.len() as u64 + 1);
        for (number, (offset, data)) in unflushed.iter().enumerate() {
            let whole = match survival {
                Survival::Nothing | Survival::Sectors => false,
                Survival::Everything => true,
                Survival::First => (number as u64) < first,
                Survival::Some => chance.one_in(2),
            };
            for (sector, bytes) in data.chunks(SECTOR).enumerate() {
                if whole || (survival == Survival::Sectors && chance.one_in(2)) {
                    let at = offset + sector * SECTOR;
                    content.durable[at..at + bytes.len()].copy_from_slice(bytes);
                }
            }
        }
        for (offset, data) in &unflushed {
            let range = *offset..offset + data.len();
            content.current[range.clone()].copy_from_slice(&content.durable[range]);
        }
        lost
    }

    /// Writes what is on the disk, without the cache, into a file.
    pub fn write_to(&self, path: &Path) -> io::Result<()> {
        let durable = self.content().durable.clone();
        let file = File::create(path)?;
        file.set_len(durable.len() as u64)?;
        let pieces = durable.chunks(PIECE).enumerate().filter(|(_, piece)| piece.iter().any(|byte| *byte != 0));
        pieces.into_iter().try_for_each(|(number, piece)| file.write_all_at(piece, (number * PIECE) as u64))
    }

    fn serve(&self, mut connection: UnixStream) -> io::Result<()> {
        self.negotiate(&mut connection)?;
        loop {
            let header: [u8; 28] = read(&mut connection)?;
            if number(&header, 0, 4) != u64::from(REQUEST) {
                return Err(io::Error::other("not a request"));
            }
            let (kind, cookie) = (number(&header, 6, 2), &header[8..16]);
            let (offset, length) = (number(&header, 16, 8) as usize, number(&header, 24, 4) as usize);
            if length > LONGEST {
                return Err(io::Error::other("too long a request"));
            }
            let mut data = vec![0; if kind == 1 { length } else { 0 }];
            connection.read_exact(&mut data)?;
            let answer = match kind {
                0 => self.content().read(offset, length),
                1 => self.content().write(offset, data),
                2 => return Ok(()),
                3 => self.content().flush(),
                _ => Err(22),
            };
            let (error, data) = match answer {
                Ok(Some(data)) => (0, data),
                // Without power there is no answer.
                Ok(None) => continue,
                Err(error) => (error, Vec::new()),
            };
            let mut reply = Vec::with_capacity(16 + data.len());
            reply.extend_from_slice(&REPLY.to_be_bytes());
            reply.extend_from_slice(&u32::to_be_bytes(error));
            reply.extend_from_slice(cookie);
            reply.extend_from_slice(&data);
            connection.write_all(&reply)?;
        }
    }

    fn negotiate(&self, connection: &mut UnixStream) -> io::Result<()> {
        connection.write_all(b"NBDMAGICIHAVEOPT\x00\x03")?;
        read::<4>(connection)?;
        loop {
            let header: [u8; 16] = read(connection)?;
            let (option, length) = (number(&header, 8, 4) as u32, number(&header, 12, 4));
            if number(&header, 0, 8) != OPTION || length > 4096 {
                return Err(io::Error::other("not an option"));
            }
            connection.read_exact(&mut vec![0; length as usize])?;
            let mut export = Vec::from((self.content().durable.len() as u64).to_be_bytes());
            export.extend_from_slice(&EXPORT_FLAGS.to_be_bytes());
            match option {
                1 => return connection.write_all(&export),
                2 => return Err(io::Error::other("given up")),
                6 | 7 => {
                    let information = [&[0, 0][..], &export].concat();
                    connection.write_all(&option_reply(option, 3, &information))?;
                    connection.write_all(&option_reply(option, 1, &[]))?;
                    if option == 7 {
                        return Ok(());
                    }
                }
                _ => connection.write_all(&option_reply(option, 0x8000_0001, &[]))?,
            }
        }
    }
}

impl Content {
    fn read(&mut self, offset: usize, length: usize) -> Result<Option<Vec<u8>>, u32> {
        let end = offset.checked_add(length).ok_or(22u32)?;
        Ok(Some(self.current.get(offset..end).ok_or(22u32)?.to_vec()))
    }

    fn write(&mut self, offset: usize, data: Vec<u8>) -> Result<Option<Vec<u8>>, u32> {
        if !self.has_power() {
            return Ok(None);
        }
        let end = offset.checked_add(data.len()).ok_or(22u32)?;
        self.current.get_mut(offset..end).ok_or(28u32)?.copy_from_slice(&data);
        self.unflushed.push((offset, data));
        self.traffic.writes += 1;
        // It may be on the disk, and that was never said.
        Ok(self.count_down().then(Vec::new))
    }

    fn flush(&mut self) -> Result<Option<Vec<u8>>, u32> {
        if !self.has_power() || !self.count_down() {
            return Ok(None);
        }
        for (offset, data) in self.unflushed.drain(..) {
            self.durable[offset..offset + data.len()].copy_from_slice(&data);
        }
        self.traffic.flushes += 1;
        Ok(Some(Vec::new()))
    }

    fn has_power(&self) -> bool {
        matches!(self.power, Power::On { .. })
    }

    /// Whether there is power after one more request.
    fn count_down(&mut self) -> bool {
        if let Power::On { left: Some(left), tell } = &mut self.power {
            *left = left.saturating_sub(1);
            if *left == 0 {
                let _ = tell.send(Event::PowerLost);
                self.power = Power::Off;
                return false;
            }
        }
        true
    }
}

fn option_reply(option: u32, kind: u32, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap_or_default();
    let mut reply = Vec::from(OPTION_REPLY.to_be_bytes());
    [option, kind, length].iter().for_each(|field| reply.extend_from_slice(&field.to_be_bytes()));
    reply.extend_from_slice(data);
    reply
}

fn read<const LENGTH: usize>(from: &mut impl Read) -> io::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The number that some bytes are, the highest first.
fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    bytes[at..at + length].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
