//! What is written to the standard streams.

use std::{
    ffi::OsString,
    io::{self, Read, Write},
    os::unix::ffi::OsStrExt,
    thread,
    time::Duration,
};

use crate::{Failure, Next, Outcome, word};

/// `say OUT ERR CODE`: OUT to stdout and ERR to stderr, then the end with CODE. `\\n` in them is a newline; none is added.
pub fn say(words: &[OsString]) -> Outcome {
    let text = |index| Ok::<_, Failure>(word(words, index, String::new())?.replace("\\n", "\n"));
    let (out, err) = (text(0)?, text(1)?);
    io::stdout().write_all(out.as_bytes())?;
    io::stdout().flush()?;
    io::stderr().write_all(err.as_bytes())?;
    Ok(Next::Exit(word(words, 2, 0)?))
}

/// `echo WORD...`: the words and a newline.
pub fn echo(words: &[OsString], out: &mut impl Write) -> Outcome {
    out.write_all(&joined(words))?;
    out.write_all(b"\n")?;
    out.flush()?;
    Ok(Next::Go)
}

/// The words with spaces between them.
pub fn joined(words: &[OsString]) -> Vec<u8> {
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    words.join(&b' ')
}

/// `lines N [LENGTH [stdout|stderr|both]]`: N numbered lines, each filled up with dots to LENGTH bytes without its newline.
/// `both` writes them to the two streams in turn, stdout first.
pub fn lines(words: &[OsString]) -> Outcome {
    let (count, length): (u64, usize) = (word(words, 0, 1)?, word(words, 1, 0)?);
    let stream: String = word(words, 2, "stdout".to_owned())?;
    let (mut stdout, mut stderr) = (io::BufWriter::new(io::stdout()), io::BufWriter::new(io::stderr()));
    for number in 1..=count {
        let line = format!("{:.<length$}\n", format!("line {number} "));
        match stream.as_str() {
            "stdout" => stdout.write_all(line.as_bytes())?,
            "stderr" => stderr.write_all(line.as_bytes())?,
            "both" if number % 2 == 1 => {
                stdout.write_all(line.as_bytes())?;
                stdout.flush()?;
            }
            "both" => {
                stderr.write_all(line.as_bytes())?;
                stderr.flush()?;
            }
            _ => return Err(Failure::Usage(format!("lines: {stream}: stdout, stderr or both"))),
        }
    }
    stdout.flush()?;
    stderr.flush()?;
    Ok(Next::Go)
}

/// `repeat COUNT TEXT`: the text so often, and no newline.
pub fn repeat(words: &[OsString]) -> Outcome {
    let (count, text): (u64, String) = (word(words, 0, 1)?, word(words, 1, "x".to_owned())?);
    let mut out = io::BufWriter::new(io::stdout());
    for _ in 0..count {
        out.write_all(text.as_bytes())?;
    }
    out.flush()?;
    Ok(Next::Go)
}

/// `ticks [MILLISECONDS]`: a numbered line every so often (10), without end.
pub fn ticks(words: &[OsString]) -> Outcome {
    let pause = Duration::from_millis(word(words, 0, 10)?);
    let mut out = io::stdout();
    for number in 1_u64.. {
        writeln!(out, "tick {number}")?;
        out.flush()?;
        thread::sleep(pause);
    }
    Ok(Next::Go)
}

/// `flood`: lines as fast as they are taken, without end.
pub fn flood() -> Outcome {
    let mut out = io::BufWriter::new(io::stdout());
    for number in 1_u64.. {
        writeln!(out, "flood {number}")?;
    }
    Ok(Next::Go)
}

/// `stdin`: stdin to stdout to its end, each piece as it comes.
pub fn stdin() -> Outcome {
    copy(&mut io::stdin())?;
    Ok(Next::Go)
}

/// Copies to stdout, each piece as it comes.
pub fn copy(from: &mut impl Read) -> io::Result<()> {
    let mut out = io::stdout();
    let mut buffer = [0; 8192];
    loop {
        let count = match from.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if count == 0 {
            return Ok(());
        }
        out.write_all(buffer.get(..count).unwrap_or_default())?;
        out.flush()?;
    }
}
