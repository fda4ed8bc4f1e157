package auth

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strings"
)

// ErrSecret is wrapped by the error for a stored secret that cannot be read: of
// an unknown scheme, malformed, or more expensive than allowed.
var ErrSecret = errors.New("auth: unreadable secret")

// maxSecret bounds a stored secret in bytes.
const maxSecret = 4096

// kind is how a secret is stored.
type kind int

const (
	cleartext kind = iota
	digestMD5
	digestSHA1
	digestSHA256
	digestSHA512
	desCrypt
	md5Crypt
	shaCrypt256
	shaCrypt512
	bCrypt
)

// secret is a stored secret that was read.
type secret struct {
	kind   kind
	salt   []byte
	rounds int    // of SHA-crypt; the cost of bcrypt
	sum    []byte // the hash: bytes of a digest, text of a crypt
}

// limits is how much work a secret may ask for.
type limits struct{ rounds, cost int }

// encoding is how the bytes of a digest are written.
type encoding int

const (
	asBase64 encoding = iota
	asHex
)

// scheme is what a name in braces stands for.
type scheme struct {
	kind   kind
	size   int // bytes of the digest
	salted bool
	text   encoding
}

func schemeOf(name string) (s scheme, ok bool) {
	switch name {
	case "PLAIN", "CLEARTEXT", "CLEAR":
		return scheme{kind: cleartext}, true
	case "PLAIN-MD5":
		return scheme{kind: digestMD5, size: md5.Size, text: asHex}, true
	case "LDAP-MD5":
		return scheme{kind: digestMD5, size: md5.Size}, true
	case "SMD5":
		return scheme{kind: digestMD5, size: md5.Size, salted: true}, true
	case "SHA", "SHA1":
		return scheme{kind: digestSHA1, size: sha1.Size}, true
	case "SSHA":
		return scheme{kind: digestSHA1, size: sha1.Size, salted: true}, true
	case "SHA256":
		return scheme{kind: digestSHA256, size: sha256.Size}, true
	case "SSHA256":
		return scheme{kind: digestSHA256, size: sha256.Size, salted: true}, true
	case "SHA512":
		return scheme{kind: digestSHA512, size: sha512.Size}, true
	case "SSHA512":
		return scheme{kind: digestSHA512, size: sha512.Size, salted: true}, true
	}
	return scheme{}, false
}

// parseSecret reads "{SCHEME}text", or a crypt(3) hash without a scheme.
func parseSecret(stored string, l limits) (secret, error) {
	stored = strings.TrimRight(stored, " \t\r\n")
	if len(stored) > maxSecret {
		return secret{}, fmt.Errorf("%w: longer than %d bytes", ErrSecret, maxSecret)
	}
	if strings.HasPrefix(stored, "$") {
		return parseCrypt(stored, l)
	}
	name, text, ok := strings.Cut(strings.TrimPrefix(stored, "{"), "}")
	if !ok || stored[0] != '{' {
		return secret{}, fmt.Errorf("%w: no scheme", ErrSecret)
	}
	name, suffix, _ := strings.Cut(strings.ToUpper(name), ".")
	if name == "DES-CRYPT" && suffix == "" {
		return parseDES(text)
	}
	if prefixes, ok := cryptPrefixes(name); ok {
		if suffix != "" || !hasPrefix(text, prefixes) {
			return secret{}, fmt.Errorf("%w: no hash of scheme %s", ErrSecret, name)
		}
		return parseCrypt(text, l)
	}
	s, ok := schemeOf(name)
	if !ok {
		return secret{}, fmt.Errorf("%w: unknown scheme %.20q", ErrSecret, name)
	}
	return parseDigest(s, suffix, text)
}

// cryptPrefixes returns what the hashes of a crypt scheme begin with.
func cryptPrefixes(name string) ([]string, bool) {
	switch name {
	case "CRYPT":
		return []string{""}, true
	case "MD5-CRYPT", "MD5":
		return []string{"$1$"}, true
	case "SHA256-CRYPT":
		return []string{"$5$"}, true
	case "SHA512-CRYPT":
		return []string{"$6$"}, true
	case "BLF-CRYPT":
		return []string{"$2"}, true
	}
	return nil, false
}

func hasPrefix(text string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(text, p) {
			return true
		}
	}
	return false
}

// parseDigest reads a plain secret, or a digest with its salt behind it.
func parseDigest(s scheme, suffix, text string) (secret, error) {
	raw, err := decode(s, suffix, text)
	if err != nil {
		return secret{}, fmt.Errorf("%w: %w", ErrSecret, err)
	}
	switch {
	case s.kind == cleartext && len(raw) == 0:
		return secret{}, fmt.Errorf("%w: empty password", ErrSecret)
	case s.kind == cleartext:
		return secret{kind: cleartext, sum: raw}, nil
	case len(raw) < s.size, !s.salted && len(raw) > s.size, s.salted && len(raw) == s.size:
		return secret{}, fmt.Errorf("%w: digest of %d bytes", ErrSecret, len(raw))
	}
	return secret{kind: s.kind, sum: raw[:s.size], salt: raw[s.size:]}, nil
}

// decode undoes the encoding that the suffix names, or else the scheme's own.
func decode(s scheme, suffix, text string) ([]byte, error) {
	switch {
	case suffix == "HEX", suffix == "" && s.text == asHex:
		return hex.DecodeString(text)
	case suffix == "B64", suffix == "BASE64":
	case suffix != "":
		return nil, fmt.Errorf("unknown encoding %.20q", suffix)
	case s.kind == cleartext:
		return []byte(text), nil
	}
	return base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
}

// match reports whether password is the one that was stored.
func (s secret) match(password []byte) (bool, error) {
	switch s.kind {
	case cleartext:
		// Digests of both have one length, so that not even the length is told.
		a, b := sha256.Sum256(s.sum), sha256.Sum256(password)
		return subtle.ConstantTimeCompare(a[:], b[:]) == 1, nil
	case digestMD5:
		return s.matchDigest(md5.New(), password), nil
	case digestSHA1:
		return s.matchDigest(sha1.New(), password), nil
	case digestSHA256:
		return s.matchDigest(sha256.New(), password), nil
	case digestSHA512:
		return s.matchDigest(sha512.New(), password), nil
	case desCrypt:
		return s.matchDES(password), nil
	}
	return s.matchCrypt(password)
}

func (s secret) matchDigest(h hash.Hash, password []byte) bool {
	h.Write(password)
	h.Write(s.salt)
	return subtle.ConstantTimeCompare(h.Sum(nil), bytes.Clone(s.sum)) == 1
}
