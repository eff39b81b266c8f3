//! Certificates for services that speak TLS: an authority, and what it signed for this machine's loopback addresses.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// Files in PEM form, in a folder that somebody else owns.
#[derive(Debug, Clone)]
pub(crate) struct Certificates {
    /// Of the authority: what clients trust.
    pub(crate) authority: PathBuf,
    /// Of the server, for `localhost` and `127.0.0.1`.
    pub(crate) certificate: PathBuf,
    /// The server's secret key.
    pub(crate) key: PathBuf,
}

impl Certificates {
    /// An authority of its own, and a certificate that it signed.
    pub(crate) fn make(folder: &Path) -> anyhow::Result<Self> {
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let server = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        let server = server.signed_by(&key, &authority)?;
        let made = Self {
            authority: folder.join("authority.pem"),
            certificate: folder.join("server.pem"),
            key: folder.join("server.key"),
        };
        std::fs::write(&made.authority, authority.pem())?;
        std::fs::write(&made.certificate, server.pem())?;
        std::fs::write(&made.key, key.serialize_pem())?;
        Ok(made)
    }
}
