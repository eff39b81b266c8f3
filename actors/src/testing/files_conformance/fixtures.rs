//! Files, and questions about them.

use crate::ids::{AccountId, FileId, FileObjectId};
use crate::ports::Files;
use crate::ports::files::{FileQuery, FileQuota, FileRecord, FileUsage, KeepOutcome, NewFile};
use crate::time::Timestamp;

pub(super) const PLENTY: FileQuota = FileQuota {
    files: 1000,
    bytes: 1_000_000,
};

pub(super) fn account(name: &str) -> AccountId {
    name.parse().expect("a name")
}

pub(super) fn new_file(owner: &str, content: u8, bytes: u64) -> NewFile {
    NewFile {
        id: FileId::new(),
        account: account(owner),
        object: FileObjectId::new(),
        in_place_of: None,
        filename: "täglich.pdf".into(),
        media_type: "application/pdf".into(),
        purpose: Some("user_data".into()),
        bytes,
        sha256: [content; 32],
        created_at: Timestamp::now(),
    }
}

pub(super) async fn begun(files: &dyn Files, file: &NewFile) {
    let begun = files.begin_object(file.object, &file.account, file.created_at).await;
    begun.expect("it begins");
}

pub(super) async fn outcome(files: &dyn Files, file: &NewFile, quota: FileQuota) -> KeepOutcome {
    begun(files, file).await;
    files.keep_file(file.clone(), quota).await.expect("it answers")
}

pub(super) async fn kept(files: &dyn Files, file: &NewFile) -> (FileRecord, bool) {
    match outcome(files, file, PLENTY).await {
        KeepOutcome::Kept { file, is_surplus } => (file, is_surplus),
        other => panic!("not kept: {other:?}"),
    }
}

pub(super) async fn listed(files: &dyn Files, owner: &str, before: Option<FileId>, limit: u32) -> Vec<FileId> {
    let account = account(owner);
    let query = FileQuery { account, before, limit };
    let found = files.list_files(query).await.expect("it lists");
    found.into_iter().map(|file| file.id).collect()
}

pub(super) async fn garbage(files: &dyn Files) -> Vec<FileObjectId> {
    let found = files.garbage(None, 100).await.expect("it answers");
    found.into_iter().map(|found| found.object).collect()
}

pub(super) async fn usage(files: &dyn Files, owner: &str) -> FileUsage {
    files.file_usage(&account(owner)).await.expect("it answers")
}
