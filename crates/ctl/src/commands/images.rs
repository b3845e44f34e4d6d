//! `corten images`

use corten_cri::v1;

use crate::{
    args::Images,
    error::Error,
    output::{self, Format},
    runtime::Runtime,
    table::{Table, short_id, size},
};

/// Lists the images, a line per tag.
pub async fn run(runtime: &Runtime, args: Images) -> Result<(), Error> {
    let mut answer = runtime.images().await?;
    if let Some(wanted) = &args.name {
        let named =
            |image: &v1::Image| image.repo_tags.iter().chain(&image.repo_digests).any(|name| name.starts_with(wanted));
        answer.images.retain(named);
    }
    answer.images.sort_by(|a, b| (&a.repo_tags, &a.id).cmp(&(&b.repo_tags, &b.id)));
    if args.quiet {
        return answer.images.iter().try_for_each(|image| output::line(&image.id));
    }
    if args.output != Format::Table {
        return output::value(&output::message("ListImagesResponse", &answer)?, args.output);
    }
    let mut table = Table::new(["IMAGE", "TAG", "IMAGE ID", "SIZE"]);
    for image in &answer.images {
        for (name, tag) in names(image) {
            table.row([name, tag, short_id(&image.id), size(image.size)]);
        }
    }
    output::print(&table.to_string())
}

/// An image's names with their tags; one without a tag is there once.
fn names(image: &v1::Image) -> Vec<(String, String)> {
    if image.repo_tags.is_empty() {
        let name =
            image.repo_digests.first().and_then(|digest| digest.split_once('@')).map_or("<none>", |(name, _)| name);
        return vec![(name.to_owned(), "<none>".to_owned())];
    }
    image.repo_tags.iter().map(|tag| split_tag(tag)).collect()
}

/// The colon of a tag comes after the last slash; before it is a port.
fn split_tag(reference: &str) -> (String, String) {
    match reference.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name.to_owned(), tag.to_owned()),
        _ => (reference.to_owned(), "<none>".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, tag: &str) -> (String, String) {
        (name.to_owned(), tag.to_owned())
    }

    #[test]
    fn a_port_is_not_a_tag() {
        assert_eq!(split_tag("localhost:5000/web:1"), pair("localhost:5000/web", "1"));
        assert_eq!(split_tag("localhost:5000/web"), pair("localhost:5000/web", "<none>"));
    }

    #[test]
    fn an_image_without_a_tag_is_there_once() {
        let image =
            v1::Image { repo_digests: vec!["a/b@sha256:0".into(), "c/d@sha256:0".into()], ..v1::Image::default() };
        assert_eq!(names(&image), [pair("a/b", "<none>")]);
        assert_eq!(names(&v1::Image::default()), [pair("<none>", "<none>")]);
    }
}
