//! A bounded run of the fuzz targets about signatures and names of images.

mod grow;
mod trusted;

#[test]
fn keys_and_messages_take_any_bytes() {
    grow::run("openpgp", trusted::openpgp_seeds(), trusted::openpgp);
}

#[test]
fn signatures_take_any_bytes() {
    grow::run("signature", trusted::signature_seeds(), trusted::signature);
}

#[test]
fn names_take_any_bytes() {
    grow::run("references", trusted::reference_seeds(), trusted::references);
}
