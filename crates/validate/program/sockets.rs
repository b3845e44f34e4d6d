//! TCP.

use std::{
    ffi::OsString,
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
};

use crate::{Failure, Next, Outcome, output, word};

/// `serve PORT [ADDRESS]`: sends back what comes, on every connection, without end; says `ready`. The address is
/// every one of IPv4's if none is given.
pub fn serve(words: &[OsString]) -> Outcome {
    let address = SocketAddr::new(word(words, 1, Ipv4Addr::UNSPECIFIED.into())?, word(words, 0, 0)?);
    let listener = TcpListener::bind(address).map_err(Failure::of(format!("listen on {address}")))?;
    output::echo(&["ready".into()], &mut io::stdout())?;
    for stream in listener.incoming().flatten() {
        // One client's trouble is not another's.
        let started = thread::Builder::new().spawn(move || drop(send_back(stream)));
        started.map_err(Failure::of("start a thread"))?;
    }
    Ok(Next::Go)
}

fn send_back(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 8192];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return stream.shutdown(Shutdown::Write);
        }
        stream.write_all(buffer.get(..count).unwrap_or_default())?;
    }
}

/// `connect ADDRESS:PORT WORD...`: sends the words, says no more, and prints what comes back.
pub fn connect(words: &[OsString]) -> Outcome {
    let address: SocketAddr = word(words, 0, SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0))?;
    let failed = || Failure::of(format!("connect to {address}"));
    let mut stream = TcpStream::connect(address).map_err(failed())?;
    stream.write_all(&output::joined(words.get(1..).unwrap_or_default())).map_err(failed())?;
    stream.shutdown(Shutdown::Write).map_err(failed())?;
    output::copy(&mut stream).map_err(failed())?;
    Ok(Next::Go)
}
