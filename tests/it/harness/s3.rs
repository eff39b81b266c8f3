//! npm `s3rver`: somebody else's idea of S3, in a process of its own. It knows whose keys there are, but does not check signatures.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::process::Command;

use super::Site;
use crate::rig::Process;

/// The variable that names the program: `scripts/test` installs it and sets this.
const PROGRAM_VARIABLE: &str = "CALLBOARD_TEST_S3RVER";

/// The only key that it knows.
const KEY_ID: &str = "S3RVER";

/// The key itself. Nothing may ever show it.
pub(crate) const BUCKET_KEY: &str = "never-to-be-seen";

/// The bucket that it has.
const BUCKET: &str = "callboard-files";

/// An object of a bucket is a file of this program whose name ends so.
const OBJECT_ENDING: &str = "._S3rver_object";

/// A server with one bucket. It ends with this value.
pub(crate) struct Bucket {
    process: Option<Process>,
    address: String,
    directory: TempDir,
}

impl Bucket {
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut bucket = Self {
            process: None,
            address: "127.0.0.1:0".into(),
            directory,
        };
        bucket.go_on().await;
        bucket
    }

    /// Starts it again where it was, after [`Bucket::go_away`].
    pub(crate) async fn go_on(&mut self) {
        let program = std::env::var_os(PROGRAM_VARIABLE).map(PathBuf::from);
        let program =
            program.unwrap_or_else(|| panic!("{PROGRAM_VARIABLE} is not set: run `scripts/test file_buckets`"));
        let (host, port) = self.address.split_once(':').unwrap();
        let mut command = Command::new("node");
        command
            .arg(program)
            .args([
                "--no-vhost-buckets",
                "--configure-bucket",
                BUCKET,
                "--address",
                host,
                "--port",
                port,
            ])
            .arg("--directory")
            .arg(self.directory.path());
        let mut process = Process::start("s3rver", command).unwrap();
        let address = |printed: &str| {
            let (_, address) = printed.split_once("listening on ")?;
            address.split_once('\n').map(|(address, _)| address.trim().to_owned())
        };
        self.address = process.until_printed("its address", address).await.unwrap();
        self.process = Some(process);
    }

    /// Ends it; what is in the bucket stays.
    pub(crate) async fn go_away(&mut self) {
        self.process.take().unwrap().kill().await.unwrap();
    }

    /// A place for servers that keep files here, with this key's id.
    pub(crate) fn site_with(&self, settings: &str, key_id: &str) -> Site {
        let files = format!(
            "s3_bucket = \"{BUCKET}\"\ns3_endpoint = \"http://{}\"\ns3_prefix = \"one/two\"\n\
             s3_access_key_id_env = \"BUCKET_KEY_ID\"\ns3_secret_access_key_env = \"BUCKET_KEY\"\n",
            self.address
        );
        Site::new(&format!("[files]\n{files}{settings}"))
            .with_variable("BUCKET_KEY_ID", key_id)
            .with_variable("BUCKET_KEY", BUCKET_KEY)
    }

    /// The same with one that it knows. `settings` go on in the section `[files]`.
    pub(crate) fn site(&self, settings: &str) -> Site {
        self.site_with(settings, KEY_ID)
    }

    /// Whether a part of an object has come that is not whole yet.
    pub(crate) fn has_begun(&self) -> bool {
        let uploads = self.directory.path().join(BUCKET).join("._S3rver_uploads");
        let mut uploads = std::fs::read_dir(uploads).into_iter().flatten().flatten();
        uploads.any(|upload| upload.path().join("1.md5").exists())
    }

    /// The names of its objects.
    pub(crate) fn objects(&self) -> Vec<String> {
        fn find(folder: &Path, root: &Path, found: &mut Vec<String>) {
            let entries = match std::fs::read_dir(folder) {
                // Its last object was deleted while we looked. (The bucket itself stays.)
                Err(error) if error.kind() == ErrorKind::NotFound && folder != root => return,
                entries => entries.unwrap(),
            };
            for entry in entries.flatten() {
                let path = entry.path();
                if path.is_dir() {
                    find(&path, root, found);
                } else if let Some(name) = path
                    .strip_prefix(root)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .strip_suffix(OBJECT_ENDING)
                {
                    found.push(name.to_owned());
                }
            }
        }
        let mut found = Vec::new();
        let root = self.directory.path().join(BUCKET);
        find(&root, &root, &mut found);
        found
    }
}
