#!/bin/bash
# Makes tpm2-tools.json: see README.md. Usage: make.sh DIR, a manufactured swtpm that runs on DIR/tpm.
set -euo pipefail
export TPM2TOOLS_TCTI="swtpm:path=$1/tpm"
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; out=$(cd "$(dirname "$0")" && pwd)/tpm2-tools.json; cd "$work"
flush() { tpm2_flushcontext -t; tpm2_flushcontext -l; tpm2_flushcontext -s; }
hex() { xxd -p -c 100000 "$1"; }
nonce=$(printf 'agentkeyd test vector nonce #001' | xxd -p -c 100)
fixed='fixedtpm|fixedparent|sensitivedataorigin'
objects=(); attests=()

# object NAME CONTEXT PARENT: TPM2B_PUBLIC less its size, Name, Qualified Name, and the PEM that tpm2-tools makes.
object() {
  tpm2_readpublic -c "$2" -f tss -o o.pub -n o.name -q o.qname >/dev/null; tpm2_readpublic -c "$2" -f pem -o o.pem >/dev/null; flush
  objects+=("{\"what\":\"$1\",\"parent\":\"$3\",\"publicArea\":\"$(tail -c +3 o.pub | xxd -p -c 100000)\",\"name\":\"$(hex o.name)\",\"qualifiedName\":\"$(hex o.qname)\",\"spki\":\"$(openssl pkey -pubin -in o.pem -outform der | xxd -p -c 100000)\"}")
}
# attest TYPE SIGNER: a.att (TPMS_ATTEST) and a.sig (TPMT_SIGNATURE); tpm2_print reads quotes only.
attest() {
  printed=null
  [ "$1" != quote ] || printed=$(tpm2_print -t TPMS_ATTEST a.att | python3 -c 'import json,sys; print(json.dumps(sys.stdin.read()))')
  attests+=("{\"type\":\"$1\",\"signer\":\"$2\",\"attest\":\"$(hex a.att)\",\"signature\":\"$(hex a.sig)\",\"printed\":$printed}")
}

tpm2_createek -G rsa -c ek1.ctx -u ek1.pub; flush
tpm2_createek -G ecc -c ek2.ctx -u ek2.pub; flush
object 'EK L-1' ek1.ctx endorsement; object 'EK L-2' ek2.ctx endorsement; object 'EK H-3' 0x81010016 endorsement
for index in 0x1c00002 0x1c0000a 0x1c00016; do tpm2_nvread $index -o cert.$index; done

python3 -c "open('u.dat','wb').write(((32).to_bytes(2,'little')+bytes(32))*2)"
tpm2_createprimary -Q -C o -g sha256 -G ecc256:aes128cfb -a "$fixed|userwithauth|noda|restricted|decrypt" -u u.dat -c srk.ctx; flush
object SRK srk.ctx owner
tpm2_createprimary -Q -C e -g sha256 -G ecc256:ecdsa-sha256:null -a "$fixed|userwithauth|noda|restricted|sign" -c ak.ctx; flush
object AK ak.ctx endorsement
tpm2_createprimary -Q -C e -g sha256 -G rsa2048:rsassa-sha256:null -a "$fixed|userwithauth|noda|restricted|sign" -c akrsa.ctx; flush
object 'AK RSASSA' akrsa.ctx endorsement
tpm2_createprimary -Q -C e -g sha256 -G rsa2048:rsapss-sha256:null -a "$fixed|userwithauth|noda|restricted|sign" -c akpss.ctx; flush
object 'AK RSAPSS' akpss.ctx endorsement
for kind in ES256=ecc256:ecdsa-sha256:null ES384=ecc384:ecdsa-sha384:null RS256=rsa2048:rsassa-sha256:null PS256=rsa3072:rsapss-sha256:null; do
  tpm2_create -Q -C srk.ctx -g sha256 -G "${kind#*=}" -a "$fixed|userwithauth|noda|sign" -u k.pub -r k.priv --creation-ticket k.tk --creation-hash k.ch; flush
  tpm2_load -Q -C srk.ctx -u k.pub -r k.priv -c "${kind%%=*}.ctx"; flush
  cp k.tk "${kind%%=*}.tk"; cp k.ch "${kind%%=*}.ch"
  object "key ${kind%%=*}" "${kind%%=*}.ctx" SRK
done

tpm2_certify -c ES256.ctx -C ak.ctx -g sha256 -o a.att -s a.sig >/dev/null; flush; attest certify AK
tpm2_certify -c ES384.ctx -C akrsa.ctx -g sha256 -o a.att -s a.sig >/dev/null; flush; attest certify 'AK RSASSA'
tpm2_quote --scheme=rsapss -c akpss.ctx -l sha256:0,7 -q "$nonce" -g sha256 -m a.att -s a.sig -f tss >/dev/null; flush; attest quote 'AK RSAPSS'
tpm2_pcrextend 14:sha256=$(printf vector | sha256sum | cut -d' ' -f1)
tpm2_quote -c ak.ctx -l sha256:0,1,2,3,4,5,6,7,8,9,10,14 -q "$nonce" -g sha256 -m a.att -s a.sig -f tss -o a.pcrs -F values >/dev/null; flush; attest quote AK
pcrs=$(hex a.pcrs)
tpm2_certifycreation -C ak.ctx -c ES256.ctx -g sha256 -d ES256.ch -t ES256.tk -o a.sig --attestation a.att -q "$nonce" >/dev/null; flush; attest creation AK
tpm2_nvdefine -Q 0x01500011 -C o -a 'nt=counter|ownerread|authread|authwrite|no_da' -p nvpw
tpm2_nvincrement 0x01500011 -C 0x01500011 -P nvpw
tpm2_nvcertify -C ak.ctx -c 0x01500011 -p nvpw -g sha256 -s ecdsa -o a.sig --attestation a.att -q "$nonce" --size 8 --offset 0 0x01500011 >/dev/null; flush; attest nv AK
nvname=$(tpm2_nvreadpublic 0x01500011 | awk '/name:/{print $2}'); tpm2_nvundefine -Q 0x01500011 -C o

# Credentials for software EKs, so that a test can open them: seed, KDFe, KDFa and integrity as tpm2-tools makes them.
openssl ecparam -name prime256v1 -genkey -noout -out sw-ecc.pem; openssl genrsa -out sw-rsa.pem 2048 2>/dev/null
printf 'the secret of a test credential.' >secret; tpm2_readpublic -c ak.ctx -n ak.name >/dev/null; flush
for kind in ecc rsa; do
  openssl pkey -in sw-$kind.pem -pubout -out sw-$kind.pub
  tpm2_makecredential -Q -T none -G $kind -u sw-$kind.pub -s secret -n "$(hex ak.name)" -o $kind.blob
done
credential() { echo "{\"privateKey\":\"$(openssl pkcs8 -topk8 -nocrypt -in sw-$1.pem -outform der | xxd -p -c 100000)\",\"blob\":\"$(hex $1.blob)\"}"; }

join() { local IFS=,; echo "$*"; }
jq . >"$out" <<JSON
{"tpm2Tools":"$(tpm2_print --version | grep -o 'version="[^"]*"' | cut -d'"' -f2)","swtpm":"$(swtpm --version | grep -o 'version [0-9.]*' | cut -d' ' -f2)",
"nonce":"$nonce",
"objects":[$(join "${objects[@]}")],
"attests":[$(join "${attests[@]}")],
"pcrValues":"$pcrs",
"nvName":"$nvname",
"credentials":{"secret":"$(hex secret)","name":"$(hex ak.name)","ecc":$(credential ecc),"rsa":$(credential rsa)},
"ekCertificates":{"L-1":"$(hex cert.0x1c00002)","L-2":"$(hex cert.0x1c0000a)","H-3":"$(hex cert.0x1c00016)"}}
JSON
