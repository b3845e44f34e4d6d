#![allow(clippy::unwrap_used, clippy::panic)]
use oci_spec::image::Config;
use proptest::prelude::*;

use super::*;

const PASSWD: &str = "\
# a comment
root:x:0:0:root:/root:/bin/sh
broken
nouid:x::5::/:
negative:x:-1:5::/:
app:x:1000:1001:App:/home/app:/bin/sh
+nis::::::
bare:x:7:8
app:x:9:9:second entry of that name:/:
";
const GROUP: &str = "\
root:x:0:
wheel:x:10:root,app
broken:x
staff:x:50:app, other
web:x:60:someone
video:x:10:app
";

fn resolved(security: &Security, user: &str) -> Result<ResolvedUser> {
    resolve(security, &image(user), Some(PASSWD.as_bytes()), Some(GROUP.as_bytes()))
}

fn image(user: &str) -> ImageConfiguration {
    let mut config = Config::default();
    config.set_user(Some(user.to_owned()));
    let mut image = ImageConfiguration::default();
    image.set_config(Some(config));
    image
}

fn ids(user: &ResolvedUser) -> (u32, u32, &[u32]) {
    (user.uid, user.gid, &user.additional_gids)
}

fn of_image(user: &str) -> ResolvedUser {
    resolved(&Security::default(), user).unwrap()
}

#[test]
fn an_image_that_says_nothing_runs_as_root_with_roots_groups() {
    for user in [&of_image(""), &of_image("0"), &of_image("root")] {
        assert_eq!(ids(user), (0, 0, &[0, 10][..]));
        assert_eq!((user.username.as_deref(), user.home.as_deref()), (Some("root"), Some("/root")));
    }
    let unset = resolve(&Security::default(), &ImageConfiguration::default(), None, None).unwrap();
    assert_eq!(ids(&unset), (0, 0, &[0][..]));
}

#[test]
fn the_images_user_may_be_names_or_ids() {
    assert_eq!(ids(&of_image("app")), (1000, 1001, &[1001, 10, 50][..]));
    assert_eq!(ids(&of_image("1000")), (1000, 1001, &[1001, 10, 50][..]));
    assert_eq!(ids(&of_image("app:web")), (1000, 60, &[60, 10, 50][..]));
    assert_eq!(ids(&of_image("app:70")), (1000, 70, &[70, 10, 50][..]));
    assert_eq!(ids(&of_image("4242")), (4242, 0, &[0][..]));
    assert_eq!(ids(&of_image("4242:4343")), (4242, 4343, &[4343][..]));
    assert_eq!(ids(&of_image(":60")), (0, 60, &[60, 10][..]));
    assert_eq!(ids(&of_image("bare")), (7, 8, &[8][..]));
}

#[test]
fn the_request_wins_over_the_image() {
    let as_uid = Security { run_as: Some(RunAs::Uid(0)), run_as_group: Some(5), ..Default::default() };
    assert_eq!(ids(&resolved(&as_uid, "app").unwrap()), (0, 5, &[5, 10][..]));
    let as_name = Security { run_as: Some(RunAs::Name("app".into())), ..Default::default() };
    assert_eq!(ids(&resolved(&as_name, "root").unwrap()), (1000, 1001, &[1001, 10, 50][..]));
}

#[test]
fn a_strict_policy_takes_no_groups_from_the_image() {
    let security = Security {
        run_as: Some(RunAs::Uid(1000)),
        supplemental_groups: vec![77, 10, 77],
        supplemental_groups_policy: SupplementalGroupsPolicy::Strict,
        ..Default::default()
    };
    assert_eq!(ids(&resolved(&security, "").unwrap()), (1000, 1001, &[1001, 77, 10][..]));
    let merged = Security { supplemental_groups_policy: SupplementalGroupsPolicy::Merge, ..security };
    assert_eq!(ids(&resolved(&merged, "").unwrap()), (1000, 1001, &[1001, 10, 50, 77][..]));
}

#[test]
fn what_is_not_there_is_named() {
    let text = |user: &str| resolved(&Security::default(), user).unwrap_err().to_string();
    assert_eq!(text("ghost"), "unable to find user ghost: no matching entries in passwd file");
    assert_eq!(text("nouid"), "unable to find user nouid: no matching entries in passwd file");
    assert_eq!(text("app:ghosts"), "unable to find group ghosts: no matching entries in group file");
    let missing = resolve(&Security::default(), &image("app"), None, None).unwrap_err();
    assert!(matches!(missing, Error::Container(_)));
}

#[test]
fn what_cannot_be_is_refused() {
    for bad in ["-1", "4294967295", "99999999999999999999", "1:-1", "a:b:c", "a\nb"] {
        assert!(matches!(resolved(&Security::default(), bad), Err(Error::Container(_))), "{bad:?}");
    }
    let group_only = Security { run_as_group: Some(1), ..Default::default() };
    assert!(matches!(resolved(&group_only, ""), Err(Error::Invalid { .. })));
}

#[test]
fn a_group_file_cannot_give_more_groups_than_the_kernel_takes() {
    let group: String = (0..70_000).map(|gid| format!("g{gid}:x:{gid}:root\n")).collect();
    let passwd = PASSWD.as_bytes();
    let error = resolve(&Security::default(), &image("root"), Some(passwd), Some(group.as_bytes())).unwrap_err();
    assert!(error.to_string().contains("70000 groups"), "{error}");
}

proptest! {
    #[test]
    fn any_files_and_any_user_give_a_user_or_an_error(
        passwd in proptest::collection::vec(any::<u8>(), 0..200),
        group in proptest::collection::vec(any::<u8>(), 0..200),
        user in any::<String>(),
    ) {
        if let Ok(user) = resolve(&Security::default(), &image(&user), Some(&passwd), Some(&group)) {
            prop_assert_eq!(user.additional_gids.first(), Some(&user.gid));
        }
    }

    #[test]
    fn a_well_formed_entry_is_found_among_any_lines(
        name in "[a-z][a-z0-9_-]{0,12}", uid in 0..u32::MAX, gid in 0..u32::MAX, noise in "([a-z]{0,3}:?[0-9]{0,2}\n){0,5}",
    ) {
        prop_assume!(!noise.contains(&name));
        let passwd = format!("{noise}{name}:x:{uid}:{gid}:gecos:/home/{name}:/bin/sh\n");
        let user = resolve(&Security::default(), &image(&name), Some(passwd.as_bytes()), None).unwrap();
        prop_assert_eq!((user.uid, user.gid), (uid, gid));
        prop_assert_eq!(user.home, Some(format!("/home/{name}")));
    }

    #[test]
    fn cutting_a_file_short_never_panics(cut in 0..PASSWD.len()) {
        let _ = resolve(&Security::default(), &image("app:web"), PASSWD.as_bytes().get(..cut), GROUP.as_bytes().get(..cut));
    }
}
