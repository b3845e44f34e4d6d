//! `corten check`: a layer that the disk changed.

use corten_e2e::cri::assert_refused;
use corten_e2e::image::{Image as Making, Layer};
use tonic::Code;

use super::*;

#[test]
fn a_broken_layer_is_found_refused_and_mended() {
    lab::test(Setup::default(), async |lab| {
        let layer = Layer::new().file("which", 0o644, b"good\n").finish();
        let layers = vec![image::busybox_layer().to_vec(), layer];
        let image = lab.image("checked", &Making::of(layers).config(image::busybox_config()).build()).await;
        assert_eq!(succeed(lab, &["check"]).await, "2 good, 0 repaired, 0 broken, 0 not recorded\n");
        let config = lab.pod("checked");
        let pod = lab.run_pod(&config).await;
        let running = lab.start(&pod, &config, &pods::sleeper("running", &image)).await;
        let waiting = lab.cri.create(&pod, &config, &pods::sleeper("waiting", &image)).await.unwrap();
        let layers = fs::read_dir(lab.paths.root().join("images/l")).unwrap().map(|entry| entry.unwrap().path());
        let file = layers.map(|layer| layer.join("which")).find(|file| file.exists()).unwrap();
        fs::write(&file, "evil\n").unwrap();

        let checked = output(lab, &["check", &image]).await;
        let text = String::from_utf8_lossy(&checked.stdout);
        assert_eq!(checked.status.code(), Some(1), "{text}");
        assert!(
            text.contains("\"which\" has another content") && text.contains("1 good, 0 repaired, 1 broken"),
            "{text}"
        );
        let checked = output(lab, &["check", "-o", "json"]).await;
        let json: Value = serde_json::from_slice(&checked.stdout).unwrap();
        assert_eq!((checked.status.code(), json["broken"].as_u64()), (Some(1), Some(1)), "{json}");
        assert!(
            json["found"].as_array().unwrap().iter().any(|found| found["findings"][0]["path"] == "which"),
            "{json}"
        );
        assert!(fail(lab, &["check", "nothing.example/none:1"]).await.contains("not found"));

        let refused = ["is broken", "corten check --repair"];
        for after in ["before", "after a crash"] {
            let created = lab.cri.create(&pod, &config, &pods::sleeper("late", &image)).await;
            assert_refused(created, Code::FailedPrecondition, &refused);
            assert_refused(lab.cri.start(&waiting).await, Code::FailedPrecondition, &refused);
            assert_eq!(lab.cri.image(&image).await.unwrap(), None, "{after}");
            assert_eq!(lab.cri.list_images().await.len(), 1);
            lab.crash_and_restart().await;
        }

        let mended = succeed(lab, &["check", "--repair"]).await;
        assert!(mended.ends_with("1 good, 1 repaired, 0 broken, 0 not recorded\n"), "{mended}");
        assert!(lab.cri.image(&image).await.unwrap().is_some());
        lab.cri.start(&waiting).await.unwrap();
        let late = lab.start(&pod, &config, &pods::sleeper("late", &image)).await;
        for id in [&waiting, &late] {
            assert_eq!(lab.cri.shell(id, "cat /which").await, "good\n");
        }
        // What runs keeps what it has, until it goes.
        assert_eq!(lab.cri.shell(&running, "cat /which").await, "evil\n");
        lab.cri.stop(&running, 0).await.unwrap();
        lab.cri.remove(&running).await.unwrap();
        assert!(file.exists(), "the other container was there before too");
        lab.cri.stop(&waiting, 0).await.unwrap();
        lab.cri.remove(&waiting).await.unwrap();
        assert!(!file.exists());
        assert_eq!(succeed(lab, &["check"]).await, "2 good, 0 repaired, 0 broken, 0 not recorded\n");
    });
}
