//! The past in words: stories, differences and states.

use super::{path, refused, says, world};

#[test]
fn a_story_tells_every_event_of_its_subject_and_why() {
    let world = world();
    let explain = |subject: &str| {
        let of_directory = says([
            "replay",
            "--data-dir",
            path(&world.data),
            "--explain",
            subject,
        ]);
        let of_export = says([
            "replay",
            "--file",
            path(&world.export),
            "--explain",
            subject,
        ]);
        assert_eq!(of_directory, of_export, "{subject}");
        of_directory
    };
    let holds = |story: &str, wanted: &[&str]| {
        // In this order.
        let mut rest = story;
        for words in wanted {
            let at = rest
                .find(words)
                .unwrap_or_else(|| panic!("`{words}` is not next in\n{story}"));
            rest = &rest[at..];
        }
    };
    let subscription = explain("sub:1");
    holds(
        &subscription,
        &[
            "subscription 1 created by",
            "read what wallet",
            "because it pays",
            "read the inputs of subscription 1, interval 1",
            "because its interval is due",
            "run onnx-iris for subscription 1, interval 1",
            "because the input of onnx-iris is there",
            "because the answer is there",
            "because the simulation succeeded",
            &world.tx,
            "because its signed bytes are on disk",
            "subscription 1 answered by",
            "price of a delivery, 10000000000000000 wei, receivable ← earnings, pending",
            "is final",
            "price of a delivery, 10000000000000000 wei, receivable ← earnings, posted",
        ],
    );
    assert_eq!(subscription, explain("1"));
    let transaction = explain(&format!("tx:{}", world.tx));
    holds(
        &transaction,
        &[
            "because the answer is there",
            "because the simulation succeeded",
            "signed as",
            "because its signed bytes are on disk",
            "succeeded, ",
            "is final",
            "nonce 0: closed",
        ],
    );
    assert!(!transaction.contains("run onnx-iris"), "{transaction}");
    assert_eq!(transaction, explain(&world.tx));
    let job = explain(&format!("job:{}", world.job));
    holds(
        &job,
        &[
            "accepted for onnx-iris",
            "because the input of onnx-iris is there",
            "the container answered",
            ": succeeded",
        ],
    );
    assert!(!job.contains("subscription 1"), "{job}");
    assert_eq!(job, explain(&world.job));
    // Every event that names it is told of.
    let replay = says(["replay", "--data-dir", path(&world.data)]);
    for line in replay.lines().filter(|line| line.contains(&world.job)) {
        if let Some(seq) = line.split_whitespace().next().filter(|seq| *seq != "→") {
            let told = job
                .lines()
                .any(|line| line.trim_start().starts_with(&format!("{seq}  ")));
            assert!(told, "event {seq} is not told of in\n{job}");
        }
    }
    let unknown = [
        "replay",
        "--data-dir",
        path(&world.data),
        "--explain",
        "sub:7",
    ];
    assert!(refused(1, unknown).contains("E-AUDIT-005"));
    let unclear = [
        "replay",
        "--data-dir",
        path(&world.data),
        "--explain",
        "block:7",
    ];
    assert!(refused(2, unclear).contains("job:UUID"));
}

#[test]
fn amounts_of_the_native_coin_are_in_wei() {
    let world = world();
    let replay = says(["replay", "--data-dir", path(&world.data)]);
    for words in [" wei", "can pay in ether"] {
        assert!(replay.contains(words), "{words}: {replay}");
    }
    assert!(!replay.contains("native"), "{replay}");
}

#[test]
fn an_event_that_there_cannot_be_is_not_in_the_log() {
    let world = world();
    let (data, most) = (path(&world.data), u64::MAX.to_string());
    let proof = world.fresh("no-proof.json");
    let commands: [&[&str]; 9] = [
        &["replay", "--data-dir", data, "--to", &most],
        &["replay", "--data-dir", data, "--break", &most],
        &["replay", "--data-dir", data, "--diff", "0", &most],
        &[
            "replay",
            "--data-dir",
            data,
            "--explain",
            "sub:1",
            "--to",
            &most,
        ],
        &["replay", "--file", path(&world.export), "--to", &most],
        &["log", "export", "--data-dir", data, "--to", &most],
        &["log", "export", "--data-dir", data, "--from", &most],
        &[
            "log",
            "export",
            "--data-dir",
            data,
            "--from",
            &most,
            "--to",
            &most,
        ],
        &[
            "log",
            "prove",
            &most,
            "--data-dir",
            data,
            "--out",
            path(&proof),
        ],
    ];
    for command in commands {
        let said = refused(1, command);
        assert!(said.contains("E-LOG-015"), "{command:?}: {said}");
    }
    assert!(!proof.exists());
}

#[test]
fn what_differs_between_two_moments_is_said_in_words() {
    let world = world();
    let diff = |a: &str, b: &str| {
        let of_directory = says(["replay", "--data-dir", path(&world.data), "--diff", a, b]);
        let of_export = says(["replay", "--file", path(&world.export), "--diff", a, b]);
        assert_eq!(of_directory, of_export, "{a} {b}");
        of_directory
    };
    // Where the answer stood in a block: found by its words, not by its number.
    let replay = says(["replay", "--data-dir", path(&world.data)]);
    let seq_of = |words: &str| {
        let line = replay
            .lines()
            .find(|line| line.contains(words))
            .expect(words);
        line.split_whitespace()
            .next()
            .expect("a position")
            .to_owned()
    };
    let created = seq_of("subscription 1 created by");
    let included = seq_of("subscription 1 answered by");
    let said = diff(&created, &included);
    for words in [
        "job 1 for subscription 1, interval 1",
        "asks what the consumer's wallet can pay → its delivery is in a block that may still go",
        "delivery 1 to subscription 1, interval 1 was planned",
        "nonce 0 was opened",
        "next nonce           0 → 1",
        "earnings has its first entry",
        "protocol's share was booked",
        "has ended",
        "head                 block",
    ] {
        assert!(said.contains(words), "`{words}` is not in\n{said}");
    }
    for debug in ["Some(", "Stage", "{ ", "Delivery {"] {
        assert!(!said.contains(debug), "`{debug}` is in\n{said}");
    }
    assert!(diff(&created, &created).contains("nothing differs"));
    assert_eq!(
        said,
        diff(&included, &created),
        "the order of the two does not matter"
    );
    assert!(diff("0", "3").contains("the configuration appeared"));
    let beyond = [
        "replay",
        "--data-dir",
        path(&world.data),
        "--diff",
        "1",
        "100000",
    ];
    assert!(refused(1, beyond).contains("E-LOG-015"));
}

#[test]
fn a_breakpoint_shows_the_state_and_waits_for_nobody() {
    let world = world();
    let said = says(["replay", "--data-dir", path(&world.data), "--break", "8"]);
    for words in [
        "state behind event 8",
        "the node's account",
        "  subscription 1\n",
        "asks what the consumer's wallet can pay",
        "effects under way",
        "suspense",
    ] {
        assert!(said.contains(words), "`{words}` is not in\n{said}");
    }
    let to = says([
        "replay",
        "--data-dir",
        path(&world.data),
        "--to",
        "8",
        "--quiet",
    ]);
    assert!(said.ends_with(&to), "{said} does not end with {to}");
    let both = [
        "replay",
        "--data-dir",
        path(&world.data),
        "--break",
        "8",
        "--to",
        "10",
    ];
    refused(2, both);
}
