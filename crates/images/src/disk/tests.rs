#![allow(clippy::unwrap_used)]

use super::*;

fn trash(base: &Path) -> Trash {
    Trash::open(&base.join("trash")).unwrap()
}

#[test]
fn a_wide_and_deep_tree_is_deleted_whole() {
    let base = tempfile::tempdir().unwrap();
    let (trash, tree) = (trash(base.path()), base.path().join("tree"));
    for number in 0..600 {
        let directory = tree.join(format!("directory-{number}/deeper/{}", "n".repeat(100)));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("file"), "x").unwrap();
    }
    for number in 0..5000 {
        std::fs::write(tree.join(format!("{number}-{}", "f".repeat(100))), "").unwrap();
    }
    let kept = base.path().join("kept");
    std::fs::create_dir(&kept).unwrap();
    std::fs::write(kept.join("file"), "x").unwrap();
    std::os::unix::fs::symlink(&kept, tree.join("link")).unwrap();
    trash.take_path(&tree).unwrap();
    trash.empty();
    assert_eq!(std::fs::read_dir(base.path().join("trash")).unwrap().count(), 0);
    assert!(!tree.exists() && kept.join("file").exists());
}

#[test]
fn a_tree_is_measured_with_each_inode_once() {
    let base = tempfile::tempdir().unwrap();
    let mut want = 1;
    for number in 0..50 {
        let directory = base.path().join(format!("{number}/deeper"));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("file"), [1; 5000]).unwrap();
        std::fs::hard_link(directory.join("file"), base.path().join(format!("link-{number}"))).unwrap();
        want += 3;
    }
    let usage = measure(base.path()).unwrap();
    assert_eq!(usage.inodes, want);
    assert!(usage.bytes >= 50 * 8192, "{usage:?}");
}

#[test]
fn hard_links_beyond_what_is_remembered_count_by_their_share() {
    let base = tempfile::tempdir().unwrap();
    for number in 0..10 {
        let file = base.path().join(format!("file-{number}"));
        std::fs::write(&file, [1; 5000]).unwrap();
        for link in 0..3 {
            std::fs::hard_link(&file, base.path().join(format!("link-{number}-{link}"))).unwrap();
        }
    }
    let all = measure_with(base.path(), HardLinks::remembering(10)).unwrap();
    assert_eq!(all.inodes, 11);
    for remembered in [0, 3] {
        assert_eq!(measure_with(base.path(), HardLinks::remembering(remembered)).unwrap(), all);
    }
}
