//! Authorities that others made, brought along: plain openssl, elliptic curves and RSA.

use std::path::Path;
use std::process::Command;

use rowcall_tls::accept::Limits;
use rowcall_tls::config::{client_config, server_config};
use rowcall_tls::csr::{CsrError, CsrKey};
use rowcall_tls::identity::Role;
use rowcall_tls::load::{Files, Material};

use crate::support::{AGENT, EchoServer, connector, echo};

/// A root, an intermediate, a server and a client, whose chains end before the root. The lists
/// that openssl makes need its database.
const SCRIPT: &str = r#"
set -eu
cd "$1"; root_key=$2; between_key=$3; leaf_key=$4
key() { case $2 in
  rsa) openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$1.key" ;;
  *) openssl ecparam -name "$2" -genkey -noout -out "$1.key" ;;
esac; }
request() { openssl req -new -key "$1.key" -subj "/CN=$1" -out "$1.csr"; }
sign() { openssl x509 -req -in "$1.csr" -CA "$2.pem" -CAkey "$2.key" -days 2 -out "$1.pem" \
  -set_serial "0x8$(openssl rand -hex 15)" -extfile "$1.ext" 2> sign.log; }
key root "$root_key"
openssl req -x509 -new -key root.key -subj "/O=Their org/CN=Their root" -days 2 -out root.pem \
  -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign"
key between "$between_key"; request between
printf '%s\n' 'basicConstraints=critical,CA:TRUE,pathlen:0' 'keyUsage=critical,keyCertSign,cRLSign' \
  'subjectKeyIdentifier=hash' 'authorityKeyIdentifier=keyid' > between.ext
sign between root
for name in server client; do
  key $name "$leaf_key"; request $name
  printf '%s\n' 'keyUsage=critical,digitalSignature' 'subjectKeyIdentifier=hash' \
    'authorityKeyIdentifier=keyid' > $name.ext
done
printf '%s\n' 'extendedKeyUsage=serverAuth' 'subjectAltName=DNS:localhost,IP:127.0.0.1' >> server.ext
printf '%s\n' 'extendedKeyUsage=serverAuth,clientAuth' \
  'subjectAltName=URI:spiffe://example.org/agent/node1,DNS:node1' >> client.ext
for name in server client; do sign $name between; cat $name.pem between.pem > $name-chain.pem; done
cat > ca.cnf <<END
[ca]
default_ca = own
[own]
database = index.txt
default_md = sha256
default_crl_days = 1
crlnumber = number
crl_extensions = ext
[ext]
authorityKeyIdentifier = keyid
END
: > index.txt; echo 01 > number
openssl ca -config ca.cnf -gencrl -keyfile between.key -cert between.pem -out good.crl 2> crl.log
openssl ca -config ca.cnf -revoke client.pem -keyfile between.key -cert between.pem 2>> crl.log
openssl ca -config ca.cnf -gencrl -keyfile between.key -cert between.pem -out revoked.crl 2>> crl.log
grep -v '^crl' ca.cnf > old.cnf
openssl ca -config old.cnf -gencrl -keyfile between.key -cert between.pem -out old.crl 2>> crl.log
sed 's/^\[ext\]/[ext]\nissuingDistributionPoint = critical,@part\n[part]\nindirectCRL = TRUE\n[rest]/' \
  ca.cnf > part.cnf
openssl ca -config part.cnf -gencrl -keyfile between.key -cert between.pem -out part.crl 2>> crl.log
cat root.pem between.pem > both.pem
"#;

fn make(folder: &Path, root: &str, between: &str, leaf: &str) {
    let output = Command::new("bash")
        .args(["-c", SCRIPT, "make-chains"])
        .arg(folder)
        .args([root, between, leaf])
        .output()
        .expect("bash and openssl should be installed (`make deps`)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn material(folder: &Path, name: &str, authorities: &str) -> Material {
    Material::load(&Files {
        certificate: folder.join(format!("{name}-chain.pem")),
        key: folder.join(format!("{name}.key")),
        authorities: folder.join(authorities),
    })
    .unwrap()
}

#[tokio::test]
async fn chains_of_openssl_with_an_intermediate_work_on_both_sides() {
    for [root, between, leaf] in [
        ["prime256v1", "prime256v1", "prime256v1"],
        ["secp384r1", "secp384r1", "secp384r1"],
        ["rsa", "rsa", "rsa"],
        // As step-ca makes them where a company's RSA root stands above.
        ["rsa", "prime256v1", "prime256v1"],
    ] {
        let what = format!("{root} {between} {leaf}");
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        make(folder, root, between, leaf);
        let client = material(folder, "client", "root.pem");
        assert_eq!(client.identity().unwrap().to_string(), AGENT, "{what}");
        let client = connector(client_config(&client).unwrap());

        // Trust in the root, in the intermediate alone, and with a list of what was revoked.
        let plain = material(folder, "server", "root.pem");
        let between = material(folder, "server", "between.pem");
        let listed = material(folder, "server", "both.pem");
        let listed = listed.with_revocations(&folder.join("good.crl")).unwrap();
        for material in [plain, between, listed] {
            let config = server_config(&material).unwrap();
            let mut server = EchoServer::start(config, Limits::default()).await;
            let port = server.address.port();
            echo(&mut client.connect("localhost", port).await.unwrap()).await;
            let peer = server.peers.recv().await.unwrap();
            assert!(peer.require(&[Role::Agent]).is_ok(), "{what}");
        }
        let revoked = material(folder, "server", "between.pem");
        let revoked = revoked.with_revocations(&folder.join("revoked.crl")).unwrap();
        let config = server_config(&revoked).unwrap();
        let server = EchoServer::start(config, Limits::default()).await;
        let refusal = client.connect("localhost", server.address.port()).await.unwrap_err();
        assert!(refusal.to_string().contains("certificate_revoked"), "{what}: {refusal}");
    }
}

#[test]
fn lists_of_openssl_that_cannot_be_used_say_why() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), "prime256v1", "prime256v1", "prime256v1");
    let error = |authorities: &str, list: &str| {
        let server = material(folder.path(), "server", authorities);
        server.with_revocations(&folder.path().join(list)).unwrap_err().to_string()
    };
    let said = error("root.pem", "good.crl");
    assert!(said.contains("its issuer is \"CN=between\", none of the authorities"), "{said}");
    let said = error("between.pem", "old.crl");
    assert!(said.contains("it is of version 1, 2 is needed"), "{said}");
    let said = error("between.pem", "part.crl");
    assert!(said.contains("lists must be whole (no delta,"), "{said}");
}

#[test]
fn requests_of_openssl_are_read_if_their_key_is_p256_and_no_curve_of_the_same_size() {
    let read = |curve: &str| {
        let script = "openssl ecparam -name \"$1\" -genkey -noout | \
                      openssl req -new -key /dev/stdin -subj /CN=node1 -outform DER";
        let request = Command::new("bash").args(["-c", script, "request", curve]).output().unwrap();
        assert!(request.status.success(), "{}", String::from_utf8_lossy(&request.stderr));
        CsrKey::read(&request.stdout)
    };
    assert!(read("prime256v1").is_ok());
    for curve in ["secp256k1", "brainpoolP256r1", "secp384r1"] {
        assert_eq!(read(curve), Err(CsrError::Key), "{curve}");
    }
}
