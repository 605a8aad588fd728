//! Certificates of the lab: one throw-away authority per cluster or server, and the leaves that it signs.
//!
//! Everything stays in memory as PEM text; whoever starts a process writes the files. Nothing here is fit for
//! anything but loopback: the certificates are valid for two thousand years.

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256, RsaKeySize,
};

/// A certificate authority of its own (ECDSA P-256).
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    key_pem: String,
}

/// A certificate with its private key, both as PEM.
#[derive(Clone)]
pub struct Leaf {
    /// The certificate.
    pub certificate_pem: String,
    /// The private key in PKCS #8.
    pub key_pem: String,
}

/// The RSA pair with which an API server signs and checks service-account tokens.
pub struct TokenKeys {
    /// The public half, as a PEM SubjectPublicKeyInfo.
    pub public_pem: String,
    /// The private half in PKCS #8.
    pub private_pem: String,
}

impl Authority {
    /// Makes an authority whose subject is `name`.
    pub fn new(name: &str) -> anyhow::Result<Self> {
        let key = KeyPair::generate().context("failed to generate the authority's key")?;
        let key_pem = key.serialize_pem();
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name(name, None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let certificate =
            params.self_signed(&key).with_context(|| format!("failed to sign the authority {name}"))?;
        Ok(Self { certificate_pem: certificate.pem(), key_pem, issuer: Issuer::new(params, key) })
    }

    /// Returns the authority's own certificate, which clients trust.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Returns the authority's private key, for a component that signs certificates itself.
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// Signs a server certificate for these host names and addresses.
    pub fn server(&self, names: &[&str]) -> anyhow::Result<Leaf> {
        let first = names.first().context("a server certificate needs at least one name")?;
        let subject_alt_names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(subject_alt_names)
            .with_context(|| format!("failed to use {names:?} as names of a server certificate"))?;
        params.distinguished_name = distinguished_name(first, None);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params, first)
    }

    /// Signs a client certificate: the common name is the user, the organization is its group.
    pub fn client(&self, user: &str, group: Option<&str>) -> anyhow::Result<Leaf> {
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name(user, group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, user)
    }

    fn sign(&self, mut params: CertificateParams, subject: &str) -> anyhow::Result<Leaf> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().with_context(|| format!("failed to generate the key of {subject}"))?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .with_context(|| format!("failed to sign the certificate of {subject}"))?;
        Ok(Leaf { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

impl TokenKeys {
    /// Generates a pair of 2048 bits.
    pub fn generate() -> anyhow::Result<Self> {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)
            .context("failed to generate the key of service-account tokens")?;
        Ok(Self { public_pem: key.public_key_pem(), private_pem: key.serialize_pem() })
    }
}

fn distinguished_name(common_name: &str, organization: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name
}
