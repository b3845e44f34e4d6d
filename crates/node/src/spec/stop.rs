//! The signal that stops a container.

use corten_cri::v1;
use oci_spec::image::ImageConfiguration;

use crate::check;
use crate::container::config::ContainerConfig;
use crate::error::{Error, Result};

/// The signals that have names, by number (signal(7), as on x86 and Arm).
const NAMED: [(&str, i32); 36] = [
    ("ABRT", 6),
    ("ALRM", 14),
    ("BUS", 7),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("FPE", 8),
    ("HUP", 1),
    ("ILL", 4),
    ("INT", 2),
    ("IO", 29),
    ("IOT", 6),
    ("KILL", 9),
    ("PIPE", 13),
    ("POLL", 29),
    ("PROF", 27),
    ("PWR", 30),
    ("QUIT", 3),
    ("SEGV", 11),
    ("STKFLT", 16),
    ("STOP", 19),
    ("SYS", 31),
    ("TERM", 15),
    ("TRAP", 5),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("USR1", 10),
    ("USR2", 12),
    ("VTALRM", 26),
    ("WINCH", 28),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("RTMIN", RTMIN),
    ("RTMAX", RTMAX),
];

/// The first real-time signal that the C library leaves to programs.
const RTMIN: i32 = 34;
/// The last signal.
const RTMAX: i32 = 64;
const TERM: i32 = 15;

/// The signal that stops a container: the request's, else the image's (`StopSignal`: a name or a number), else SIGTERM.
///
/// # Errors
/// [`Error::Invalid`] if the request's is unknown, [`Error::Container`] if the image's is.
pub fn stop_signal(config: &ContainerConfig, image: &ImageConfiguration) -> Result<i32> {
    if let Some(signal) = &config.stop_signal {
        let unknown = || check::invalid("config.stop_signal", signal.name(), "is not a signal this runtime knows");
        return number(signal.name()).ok_or_else(unknown);
    }
    let of_image = image.config().as_ref().and_then(|config| config.stop_signal().as_deref()).unwrap_or_default();
    match of_image {
        "" => Ok(TERM),
        name => number(name).ok_or_else(|| {
            Error::Container(format!("the image's stop signal {:?} is not a signal", check::shown(name)))
        }),
    }
}

/// The signal of the CRI that has this number.
pub fn signal_message(number: i32) -> v1::Signal {
    let named = NAMED.iter().find(|(_, known)| *known == number).map(|(name, _)| (*name).to_owned());
    let name = named.unwrap_or_else(|| match number.saturating_sub(RTMIN) {
        above @ 1..=15 => format!("RTMINPLUS{above}"),
        _ => format!("RTMAXMINUS{}", RTMAX.saturating_sub(number)),
    });
    v1::Signal::from_str_name(&format!("SIGNAL_SIG{name}")).unwrap_or(v1::Signal::RuntimeDefault)
}

/// `SIGTERM`, `term`, `15`, `SIGRTMIN+3` or `RTMAX-1`.
fn number(name: &str) -> Option<i32> {
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    let named = NAMED.iter().find(|(known, _)| *known == short).map(|(_, number)| *number);
    let digits =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<i32>().ok()).flatten();
    let above = || RTMIN.checked_add(digits(short.strip_prefix("RTMIN+")?)?);
    let below = || RTMAX.checked_sub(digits(short.strip_prefix("RTMAX-")?)?);
    let real_time = || above().or_else(below).filter(|number| (RTMIN..=RTMAX).contains(number));
    named.or_else(|| digits(&upper).filter(|number| (1..=RTMAX).contains(number))).or_else(real_time)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_and_numbers_are_signals() {
        for (name, expected) in [
            ("SIGTERM", 15),
            ("term", 15),
            ("9", 9),
            ("SIGRTMIN", 34),
            ("SIGRTMIN+15", 49),
            ("SIGRTMAX-14", 50),
            ("RTMAX", 64),
        ] {
            assert_eq!(number(name), Some(expected), "{name}");
        }
        for bad in ["", "SIG", "SIGNOPE", "0", "65", "-1", "SIGRTMIN+31", "SIGRTMAX-31", "RTMIN+", "RTMIN+99999999999"]
        {
            assert_eq!(number(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_number_is_told_as_the_signal_that_it_is() {
        assert_eq!(signal_message(15), v1::Signal::Sigterm);
        assert_eq!(signal_message(34), v1::Signal::Sigrtmin);
        assert_eq!(signal_message(37), v1::Signal::Sigrtminplus3);
        assert_eq!(signal_message(63), v1::Signal::Sigrtmaxminus1);
        assert!(
            (1..=64).filter(|n| ![16, 32, 33].contains(n)).all(|n| signal_message(n) != v1::Signal::RuntimeDefault)
        );
        assert_eq!(signal_message(i32::MIN + 99), v1::Signal::RuntimeDefault);
    }

    #[test]
    fn every_signal_of_the_cri_is_one_of_the_kernels() {
        for value in 1..=65 {
            let message = v1::ContainerConfig { stop_signal: value, ..minimal() };
            let config = ContainerConfig::from_cri(message).unwrap();
            let number = stop_signal(&config, &ImageConfiguration::default()).unwrap();
            assert!((1..=64).contains(&number), "{value}: {number}");
        }
        assert!(ContainerConfig::from_cri(v1::ContainerConfig { stop_signal: 66, ..minimal() }).is_err());
    }

    fn minimal() -> v1::ContainerConfig {
        v1::ContainerConfig {
            metadata: Some(v1::ContainerMetadata { name: "c".into(), attempt: 0 }),
            image: Some(v1::ImageSpec { image: "i".into(), ..Default::default() }),
            ..Default::default()
        }
    }

    #[test]
    fn the_request_wins_over_the_image_over_term() {
        let mut image = ImageConfiguration::default();
        let none = ContainerConfig::from_cri(minimal()).unwrap();
        assert_eq!(stop_signal(&none, &image).unwrap(), 15);
        let mut config = oci_spec::image::Config::default();
        config.set_stop_signal(Some("SIGQUIT".into()));
        image.set_config(Some(config.clone()));
        assert_eq!(stop_signal(&none, &image).unwrap(), 3);
        let asked = v1::ContainerConfig { stop_signal: v1::Signal::Sigusr1 as i32, ..minimal() };
        assert_eq!(stop_signal(&ContainerConfig::from_cri(asked).unwrap(), &image).unwrap(), 10);
        config.set_stop_signal(Some("nonsense".into()));
        image.set_config(Some(config));
        assert!(matches!(stop_signal(&none, &image), Err(Error::Container(_))));
    }

    proptest! {
        #[test]
        fn no_name_makes_it_panic(name in any::<String>()) {
            let _ = number(&name);
        }
    }
}
