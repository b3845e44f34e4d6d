//! Users and groups.

use corten_cri::v1::*;

use crate::{
    check::checks,
    context::Ctx,
    expect::{as_said, equal, fails, present},
    image::{USER, names},
    make::{self, Pod, security},
    verdict::{Checked, Stop},
};

checks! {
    "users/default-is-the-images",
        "LinuxContainerSecurityContext.run_as_user: without it the process runs as the image's user", [], of_the_image;
    "users/by-id", "run_as_user and run_as_group: the numbers of the process's user and group", [], by_id;
    "users/by-name", "run_as_username: a name of the image's /etc/passwd, with its group", [], by_name;
    "users/a-name-that-is-not-there", "run_as_username must exist in the image", [], no_such_name;
    "users/supplementary-groups",
        "supplemental_groups: groups beside the primary one and, by default, those of the image", [], groups;
    "users/strict-groups",
        "supplemental_groups_policy Strict: only the groups that are given, if and only if the features of the runtime say so",
        ["LinuxContainerSecurityContext.supplemental_groups_policy", "RuntimeFeatures.supplemental_groups_policy"], strict;
    "users/status-tells-the-user",
        "ContainerStatus.user: user, group and supplementary groups of the first process",
        ["ContainerStatus.user"], told;
}

fn number(value: i64) -> Option<Int64Value> {
    Some(Int64Value { value })
}

/// User, group and then the other groups in ascending order, as the process sees them.
async fn ids(
    (ctx, pod): (&Ctx, &Pod),
    name: &str,
    image: &str,
    change: impl FnOnce(&mut LinuxContainerSecurityContext),
) -> Checked<Vec<i64>> {
    let image = ctx.image(image);
    ctx.pull(&image).await?;
    let mut config = ContainerConfig { image: Some(make::spec(&image)), ..ctx.container(name, &["id"]) };
    change(security(&mut config));
    let (_, output) = ctx.run_to_end(pod, &config).await?;
    parsed(&output.stdout)
}

fn parsed(text: &str) -> Checked<Vec<i64>> {
    let numbers: Result<Vec<i64>, _> = text.split_whitespace().map(str::parse).collect();
    let mut numbers = numbers.map_err(|_| Stop::failed("the ids of a process", "numbers", text))?;
    let mut groups = numbers.split_off(numbers.len().min(2));
    groups.sort_unstable();
    groups.dedup();
    Ok(numbers.into_iter().chain(groups).collect())
}

async fn of_the_image(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    equal(
        "ids of the plain image",
        ids((&ctx, &pod), "root", names::PLAIN, |_| {}).await?.get(..2),
        Some(&[0, 0][..]),
    )?;
    let numeric = ids((&ctx, &pod), "numeric", names::NUMERIC_USER, |_| {}).await?;
    equal("user and group of the image with USER 1000:2000", numeric.get(..2), Some(&[1000, 2000][..]))?;
    let named = ids((&ctx, &pod), "named", names::NAMED_USER, |_| {}).await?;
    equal("user and group of the image with a named USER", named.get(..2), Some(&[1000, 1000][..]))
}

async fn by_id(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let user = ids((&ctx, &pod), "user", names::PLAIN, |context| context.run_as_user = number(1234)).await?;
    equal("user and group with run_as_user 1234", user.get(..2), Some(&[1234, 0][..]))?;
    let both = ids((&ctx, &pod), "both", names::NUMERIC_USER, |context| {
        context.run_as_user = number(77);
        context.run_as_group = number(88);
    });
    equal("user and group with run_as_user 77, run_as_group 88", both.await?.get(..2), Some(&[77, 88][..]))?;
    let root = ids((&ctx, &pod), "root", names::NUMERIC_USER, |context| context.run_as_user = number(0)).await?;
    equal("user with run_as_user 0", root.first(), Some(&0))
}

async fn by_name(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let named = ids((&ctx, &pod), "named", names::PLAIN, |context| context.run_as_username = USER.to_owned()).await?;
    equal("user and group of a name", named.get(..2), Some(&[1000, 1000][..]))
}

async fn no_such_name(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let mut config = ctx.container("c", &["sleep"]);
    security(&mut config).run_as_username = "nobody-of-this-name".to_owned();
    if let Ok(id) = ctx.try_create(&pod, &config).await {
        fails("StartContainer as a user that is not there", ctx.start_id(&id).await)?;
    }
    Ok(())
}

async fn groups(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let merged = ids((&ctx, &pod), "merged", names::PLAIN, |context| {
        context.run_as_user = number(1000);
        context.supplemental_groups = vec![4444, 5555];
    });
    // Whether the primary group is listed among them is the runtime's affair.
    let merged = without_primary(&merged.await?);
    equal("groups of a user with groups in the image", merged, vec![50, 998, 4444, 5555])
}

fn without_primary(ids: &[i64]) -> Vec<i64> {
    let primary = ids.get(1).copied();
    ids.iter().skip(2).copied().filter(|group| Some(*group) != primary).collect()
}

const POLICY: &str = "RuntimeFeatures.supplemental_groups_policy";

async fn strict(ctx: Ctx) -> Checked {
    let features = ctx.status(StatusRequest { verbose: false }).await?.features;
    let said = features.is_some_and(|features| features.supplemental_groups_policy);
    let pod = ctx.new_pod().await?;
    let mut config = ctx.container("strict", &["id"]);
    let context = security(&mut config);
    context.run_as_user = number(1000);
    context.supplemental_groups = vec![4444];
    context.supplemental_groups_policy = SupplementalGroupsPolicy::Strict.into();
    let (status, output) = match ctx.run_to_end(&pod, &config).await {
        Err(_) if !said => return as_said(POLICY, said, false),
        ended => ended?,
    };
    let groups = without_primary(&parsed(&output.stdout)?);
    if said {
        equal("groups with the policy Strict", &groups, &vec![4444])?;
    }
    // The feature stands for ContainerUser, too.
    as_said(POLICY, said, groups == [4444] && status.user.is_some())
}

async fn told(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let mut config = ctx.container("c", &["sleep"]);
    let context = security(&mut config);
    (context.run_as_user, context.run_as_group) = (number(1000), number(3000));
    context.supplemental_groups = vec![4444];
    let id = ctx.start(&pod, &config).await?;
    let user = present("ContainerStatus.user", ctx.status_of(&id).await?.user)?;
    let user = present("ContainerStatus.user.linux", user.linux)?;
    equal("LinuxContainerUser.uid", user.uid, 1000)?;
    equal("LinuxContainerUser.gid", user.gid, 3000)?;
    let seen = parsed(&ctx.said(&id, &["id"]).await?)?;
    let mut groups = vec![user.uid, user.gid];
    groups.extend(std::collections::BTreeSet::from_iter(user.supplemental_groups));
    equal("LinuxContainerUser.supplemental_groups", without_primary(&groups), without_primary(&seen))?;
    equal("the groups of the process", without_primary(&seen), vec![50, 998, 4444])
}
