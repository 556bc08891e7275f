//! A mirror of Hugging Face, and where its token goes.

use super::server::{Act, Server};
use super::{Case, Hub, contents, policy};

const URL: &str = "https://huggingface.co/org/name/resolve/main/file.bin";
const TOKEN: &str = "hf_very_secret";

/// Downloads `url` with the server as the hub's mirror.
fn run(case: &Case, server: &Server) -> Result<std::path::PathBuf, String> {
    let mut policy = policy();
    let endpoint = server.url.trim_end_matches("/file.bin").to_owned();
    policy.hub = Hub::new(Some(endpoint), Some(TOKEN.to_owned()));
    assert!(!format!("{policy:?}").contains(TOKEN), "the token is shown");
    case.run_with(None, &policy).map_err(|error| format!("{error:#} {error:?}"))
}

fn authorization(head: &str) -> Option<&str> {
    head.lines().find_map(|line| line.to_lowercase().starts_with("authorization:").then(|| line[14..].trim()))
}

#[test]
fn the_mirror_is_asked_with_the_token_again_when_the_line_breaks() {
    let file = contents(50_000);
    let server = Server::new(&file, &[Act::CutBefore(20_000), Act::Serve]);
    let case = Case::new(&[URL]).with_hash(&file);
    run(&case, &server).unwrap();
    assert_eq!(fs_err::read(case.target()).unwrap(), file);
    assert_eq!(server.ranges(), ["-", "bytes=20000-"]);
    for head in server.heads() {
        assert!(head.starts_with("GET /org/name/resolve/main/file.bin HTTP/1.1"), "{head}");
        assert_eq!(authorization(&head), Some("Bearer hf_very_secret"));
    }
    let lock = fs_err::read_to_string(case.data_dir().join("scgs-lock.toml")).unwrap();
    assert!(lock.contains("sha256") && !lock.contains(TOKEN), "{lock}");
}

/// The hub answers with a redirect to a store of large files, which has its own signature in the address.
#[test]
fn a_redirect_and_other_hosts_do_not_get_the_token() {
    let file = contents(5000);
    let store = Server::new(&file, &[Act::Serve]);
    let server = Server::new(b"", &[Act::Redirect(store.url.replace("127.0.0.1", "localhost"))]);
    let case = Case::new(&[URL]);
    run(&case, &server).unwrap();
    assert_eq!(fs_err::read(case.target()).unwrap(), file);
    assert!(authorization(&server.heads()[0]).is_some());
    assert_eq!(authorization(&store.heads()[0]), None);

    let other = Server::new(&file, &[Act::Serve]);
    run(&Case::new(&[&other.url]), &server).unwrap();
    assert_eq!(authorization(&other.heads()[0]), None);
}

#[test]
fn a_refusal_does_not_show_the_token() {
    let server = Server::new(b"", &[Act::Status("401 Unauthorized", &[], "no")]);
    let message = run(&Case::new(&[URL]), &server).unwrap_err();
    assert!(message.contains("/org/name/resolve/main/file.bin: the server answers 401"), "{message}");
    assert!(message.contains("it may need a login"), "{message}");
    assert!(!message.contains(TOKEN), "{message}");
}
