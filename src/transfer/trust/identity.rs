//! Which name a signature must be of (containers-policy.json(5), `signedIdentity`).

use super::rules::Identity;
use types::Reference;

/// Checks the name that was signed against what is demanded; `own` is the image's, where it has one.
///
/// # Errors
/// Why it is not accepted.
pub fn check(demanded: Option<&Identity>, signed: &str, own: Option<&Reference>) -> Result<(), String> {
    let name: Reference = signed.parse().map_err(|_| format!("{signed:?}, which was signed, is no name"))?;
    let name = crate::registry::full_name(&name);
    let same = match demanded.unwrap_or(&Identity::MatchRepoDigestOrExact {}) {
        Identity::ExactReference { docker_reference } => parsed(docker_reference)?.to_string() == name.to_string(),
        Identity::ExactRepository { docker_repository } => parsed(docker_repository)?.repository() == name.repository(),
        relative => {
            let own =
                own.ok_or("the image has no name of its own: the policy must say exactReference or exactRepository")?;
            match relative {
                Identity::MatchExact {} => exact(own, &name),
                Identity::MatchRepository {} => own.repository() == name.repository(),
                Identity::Remap { prefix, signed_prefix } => {
                    digest_or_exact(&remapped(own, prefix, signed_prefix)?, &name)
                }
                _ => digest_or_exact(own, &name),
            }
        }
    };
    if same { Ok(()) } else { Err(format!("the signature is of {signed:?}")) }
}

fn parsed(text: &str) -> std::result::Result<Reference, String> {
    text.parse().map(|name| crate::registry::full_name(&name)).map_err(|_| format!("{text:?} of the policy is no name"))
}

/// Both have a tag or digest, and the same.
fn exact(own: &Reference, signed: &Reference) -> bool {
    (own.tag.is_some() || own.digest.is_some()) && own.to_string() == signed.to_string()
}

fn digest_or_exact(own: &Reference, signed: &Reference) -> bool {
    match own.digest {
        // The digest has been checked: whichever tag was signed.
        Some(_) => own.repository() == signed.repository(),
        None => exact(own, signed),
    }
}

fn remapped(own: &Reference, prefix: &str, to: &str) -> std::result::Result<Reference, String> {
    let repository = own.repository();
    let Some(rest) = repository.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/')) else {
        return Ok(own.clone());
    };
    let mut name = parsed(&format!("{to}{rest}"))?;
    (name.tag, name.digest) = (own.tag.clone(), own.digest);
    Ok(name)
}
