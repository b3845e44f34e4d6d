//! Layers that try to leave their directory, to forge, or to exhaust.

use proptest::prelude::*;

use super::*;

/// Unpacks what must be refused; returns what is said about it, after seeing that nothing outside changed.
fn refused(tar: Tar) -> String {
    let lab = Lab::new();
    let before = lab.outside();
    let error = lab.unpack(&tar.bytes()).unwrap_err();
    assert_eq!(error.fault(), Fault::Outside, "{error}");
    assert_eq!(lab.outside(), before);
    error.to_string()
}

#[test]
fn parent_components_are_refused_by_name() {
    for name in ["../outside", "a/../../outside", "a/..", ".."] {
        let said = refused(Tar::new().file(name, b"x"));
        assert!(said.contains(&format!("{name:?}")) && said.contains("\"..\""), "{said}");
    }
    let said = refused(Tar::new().file("../.wh.outside", b""));
    assert!(said.contains("\"..\""), "{said}");
}

#[test]
fn absolute_names_stay_inside() {
    let lab = Lab::new();
    lab.unpack(&Tar::new().file("/etc/corten-test", b"inside").file("//x", b"").bytes()).unwrap();
    assert_eq!(std::fs::read(lab.path("etc/corten-test")).unwrap(), b"inside");
    assert!(!Path::new("/etc/corten-test").exists());
}

#[test]
fn symbolic_links_do_not_lead_out() {
    for (target, name) in
        [("..", "link/outside"), ("/", "link/etc/corten-test"), ("../../..", "link/x"), ("/proc/self/root", "link/x")]
    {
        let said = refused(Tar::new().symlink("link", target).file(name, b"x"));
        assert!(said.contains("leaves the layer"), "{said}");
    }
    // Through two, of which each is harmless.
    let said =
        refused(Tar::new().directory("a/").symlink("a/up", "..").symlink("b", "a/up/..").file("b/outside", b"x"));
    assert!(said.contains("leaves the layer"), "{said}");
    let said = refused(Tar::new().symlink("link", "link").file("link/x", b"x"));
    assert!(said.contains("loop"), "{said}");
    let said = refused(Tar::new().symlink("link", "nowhere").file("link/x", b"x"));
    assert!(said.contains("link"), "{said}");
}

#[test]
fn symbolic_links_within_are_followed() {
    let lab = Lab::new();
    let tar = Tar::new().directory("usr/").directory("usr/lib/").symlink("lib", "usr/lib").file("lib/so", b"x");
    lab.unpack(&tar.bytes()).unwrap();
    assert!(lab.path("usr/lib/so").exists());
}

#[test]
fn a_file_over_a_symbolic_link_replaces_it() {
    let lab = Lab::new();
    let before = lab.outside();
    let outside = lab.base.path().join("outside");
    let tar = Tar::new().symlink("link", outside.to_str().unwrap()).file("link", b"mine");
    lab.unpack(&tar.bytes()).unwrap();
    assert_eq!(lab.outside(), before);
    assert_eq!(std::fs::read(lab.path("link")).unwrap(), b"mine");
    assert!(lab.stat("link").is_file());
}

#[test]
fn hard_links_do_not_lead_out() {
    for target in ["../outside", "a/../../outside"] {
        assert!(refused(Tar::new().hard_link("link", target)).contains("\"..\""));
    }
    // An absolute target means the layer's root, where there is no such file.
    for target in ["/etc/passwd", "missing", "missing/file"] {
        let said = refused(Tar::new().hard_link("link", target));
        assert!(said.contains("no such"), "{said}");
    }
    let said = refused(Tar::new().symlink("up", "..").hard_link("link", "up/outside"));
    assert!(said.contains("leaves the layer"), "{said}");
    // A link to a link is a link, and not what it points at.
    let lab = Lab::new();
    let tar = Tar::new().symlink("passwd", "/etc/passwd").hard_link("link", "passwd").file("link", b"mine");
    lab.unpack(&tar.bytes()).unwrap();
    assert_ne!(std::fs::read("/etc/passwd").unwrap(), b"mine");
    assert!(refused(Tar::new().directory("d/").hard_link("link", "d")).contains("it is a directory"));
    assert!(refused(Tar::new().file("f", b"x").hard_link("f", "f")).contains("is itself"));
    assert!(refused(Tar::new().file(".wh.f", b"").hard_link("g", "f")).contains("no such file"));
}

#[test]
fn whiteouts_are_not_forged_and_not_nameless() {
    assert!(refused(Tar::new().device(EntryType::Char, "w", 0, 0)).contains("would be a whiteout"));
    for name in [".wh.", ".wh..", ".wh...", "d/.wh.."] {
        let said = refused(Tar::new().file(name, b""));
        assert!(said.contains(&format!("{name:?}")) && said.contains("whiteout"), "{said}");
    }
}

#[test]
fn only_harmless_devices_are_made_unless_allowed() {
    let mut lab = Lab::new();
    lab.unpack(&Tar::new().device(EntryType::Char, "dev/null", 1, 3).bytes()).unwrap();
    assert_eq!(lab.stat("dev/null").rdev(), rustix::fs::makedev(1, 3));
    for (kind, number, name) in [
        (EntryType::Block, (8, 0), "block device 8:0"),
        (EntryType::Char, (1, 1), "device 1:1"),
        (EntryType::Char, (1, 11), "device 1:11"),
    ] {
        let said = refused(Tar::new().device(kind, "dev/x", number.0, number.1));
        assert!(said.contains("\"dev/x\"") && said.contains(name), "{said}");
    }
    lab.limits.allow_device_nodes = true;
    lab.unpack(&Tar::new().device(EntryType::Block, "dev/sda", 8, 0).bytes()).unwrap();
    assert!(lab.stat("dev/sda").file_type().is_block_device());
}

#[test]
fn a_device_number_that_the_kernel_would_cut_is_refused() {
    // The kernel takes 12 and 20 bits: the first would be a whiteout, the second /dev/mem.
    for (major, minor) in [(1 << 12, 0), (1, 1 + (1 << 20))] {
        let mut lab = Lab::new();
        lab.limits.allow_device_nodes = true;
        let said = lab.unpack(&Tar::new().device(EntryType::Char, "dev/x", major, minor).bytes());
        let said = said.unwrap_err().to_string();
        assert!(said.contains(&format!("device {major}:{minor} cannot be")), "{said}");
    }
}

#[test]
fn a_layer_ends_at_its_limits() {
    let mut lab = Lab::new();
    lab.limits.layer_entries = 2;
    let three = Tar::new().file("a", b"").file("b", b"").file("c", b"").bytes();
    assert_eq!(lab.unpack(&three).unwrap_err().to_string(), "more than the limit of 2 entries");
    lab.limits = Limits { layer_bytes: 1 << 20, ..Limits::default() };
    // Zeros compress a thousandfold.
    let mut bomb = Tar::new().file("bomb", &vec![0; 8 << 20]).bytes();
    bomb = zstd::encode_all(bomb.as_slice(), 1).unwrap();
    assert!(bomb.len() < 4096);
    assert_eq!(lab.unpack(&bomb).unwrap_err().to_string(), "more than the limit of 1048576 unpacked bytes");
    // Holes cost nothing to claim.
    let mut header = Tar::header(EntryType::GNUSparse, b"sparse", 0);
    header.as_gnu_mut().unwrap().set_real_size(1 << 60);
    header.as_gnu_mut().unwrap().sparse[0].set_offset(1 << 60);
    header.as_gnu_mut().unwrap().sparse[0].set_length(0);
    assert!(lab.unpack(&Tar::new().add(header, b"").bytes()).is_err());
}

#[test]
fn headers_do_not_fill_the_memory() {
    let lab = Lab::new();
    let value = vec![b'x'; 16 << 20];
    let tar = Tar::new().pax(&[("comment", &value)]).file("f", b"");
    let said = lab.unpack(&tar.bytes()).unwrap_err().to_string();
    assert!(said.contains("bytes of entry headers"), "{said}");
}

/// A header without the magic of any format that knows extended headers: its entry is one like any other.
fn without_magic(kind: EntryType, name: &[u8], size: usize) -> Header {
    let mut header = Tar::header(kind, name, size);
    header.as_mut_bytes()[257..512].fill(0);
    header
}

#[test]
fn a_global_header_is_passed_over_unread() {
    let lab = Lab::new();
    let body = vec![0; 5 << 20];
    let tar = Tar::new().add(Tar::header(EntryType::XGlobalHeader, b"pax_global_header", body.len()), &body);
    lab.unpack(&tar.file("f", b"x").bytes()).unwrap();
    assert!(lab.path("f").exists());
    // The same by the name of something that is read.
    let tar = Tar::new().add(without_magic(EntryType::XHeader, b".wh.f", body.len()), &body);
    let said = Lab::new().unpack(&tar.bytes()).unwrap_err().to_string();
    assert!(said.contains("bytes of entry headers"), "{said}");
}

#[test]
fn what_an_ignored_entry_claims_to_hold_counts() {
    // Reading a hole takes no archive, only time.
    let mut header = Tar::header(EntryType::GNUSparse, b".wh..wh.plnk", 0);
    let gnu = header.as_gnu_mut().unwrap();
    gnu.set_real_size(1 << 60);
    gnu.sparse[0].set_offset(1 << 60);
    gnu.sparse[0].set_length(0);
    let said = refused(Tar::new().add(header, b""));
    assert!(said.contains("unpacked bytes"), "{said}");
}

#[test]
fn directories_made_unasked_count_as_entries() {
    let mut lab = Lab::new();
    assert_eq!(lab.unpack(&Tar::new().file("a/b/c", b"x").bytes()).unwrap().usage.inodes, 4);
    lab.limits.layer_entries = 5;
    let error = lab.unpack(&Tar::new().file("1/2/3/4/5/6", b"x").bytes()).unwrap_err();
    assert_eq!(error.to_string(), "more than the limit of 5 entries");
}

#[test]
fn the_names_of_directories_made_unasked_do_not_fill_the_index() {
    let deep = vec!["d".repeat(99); 40].join("/");
    let mut tar = Tar::new();
    for number in 0..110 {
        tar.0
            .append_data(&mut Tar::header(EntryType::Regular, b"", 0), format!("{number}/{deep}"), b"".as_slice())
            .unwrap();
    }
    let said = refused(tar);
    assert!(said.contains("bytes of names of undescribed directories"), "{said}");
}

#[test]
fn broken_archives_are_the_registrys_fault() {
    let whole = Tar::new().file("f", &[1; 5000]).bytes();
    for blob in [&whole[..2000], &whole[..100], b"not an archive, but long enough to be looked at".as_slice()] {
        let error = Lab::new().unpack(blob).unwrap_err();
        assert_eq!(error.fault(), Fault::Outside, "{error}");
    }
    let gzip_of_nothing = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3];
    assert!(Lab::new().unpack(&gzip_of_nothing).is_err());
}

#[test]
fn what_cannot_be_an_owner_is_refused() {
    let said = refused(Tar::new().pax(&[("uid", b"4294967295")]).file("f", b""));
    assert!(said.contains("user 4294967295"), "{said}");
    let said = refused(Tar::new().pax(&[("GNU.sparse.major", b"1")]).file("f", b""));
    assert!(said.contains("sparse"), "{said}");
}

/// An entry of any kind with names that go up, down, and through links made before.
fn any_entry() -> impl Strategy<Value = (u8, String, String)> {
    let part = prop_oneof![
        Just("a"),
        Just("b"),
        Just("l"),
        Just(".."),
        Just("."),
        Just(""),
        Just(".wh.a"),
        Just(".wh..wh..opq"),
        Just("outside"),
    ];
    let path = prop::collection::vec(part, 1..5).prop_map(|parts| parts.join("/"));
    let target = prop_oneof![path.clone(), path.clone().prop_map(|path| format!("../{path}")), Just("/".to_owned())];
    (0u8..6, path, target)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever the entries, nothing outside the layer appears, changes or vanishes, and nothing panics.
    #[test]
    fn nothing_leaves_the_layer(entries in prop::collection::vec(any_entry(), 1..12)) {
        let lab = Lab::new();
        let before = lab.outside();
        let tar = entries.iter().fold(Tar::new(), |tar, (kind, name, target)| match kind {
            0 => tar.file(name, b"x"),
            1 => tar.directory(name),
            2 => tar.symlink(name, target),
            3 => tar.hard_link(name, target),
            4 => tar.entry(EntryType::Fifo, name, ""),
            _ => tar.device(EntryType::Char, name, 0, 0),
        });
        let _ = lab.unpack(&tar.bytes());
        prop_assert_eq!(lab.outside(), before);
        let mut beside: Vec<_> =
            std::fs::read_dir(lab.base.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        beside.sort();
        prop_assert_eq!(beside, ["layer", "outside", "trash"]);
    }

    /// Bytes that are no archive at all.
    #[test]
    fn any_bytes_are_survived(blob in prop::collection::vec(any::<u8>(), 0..2048)) {
        let _ = Lab::new().unpack(&blob);
    }
}
