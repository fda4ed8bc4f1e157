package tlsutil

import (
	"crypto/tls"

	"github.com/mtakit/mtakit"
)

// State returns what sessions, Received fields and logs say of a connection, in
// Postfix's words: "TLSv1.3", "TLS_AES_128_GCM_SHA256". It is zero before the
// handshake is complete. Peer is set only when the client's certificate was
// verified.
func State(s tls.ConnectionState) mtakit.TLS {
	if !s.HandshakeComplete {
		return mtakit.TLS{}
	}
	t := mtakit.TLS{Version: VersionName(s.Version), Cipher: tls.CipherSuiteName(s.CipherSuite), ServerName: s.ServerName}
	if len(s.VerifiedChains) > 0 && len(s.PeerCertificates) > 0 {
		t.Peer = s.PeerCertificates[0].Subject.CommonName
	}
	return t
}

// VersionName returns the protocol version as OpenSSL and Postfix write it:
// "TLSv1", "TLSv1.2", "TLSv1.3". An unknown one is "0x0505".
func VersionName(version uint16) string {
	switch version {
	case tls.VersionTLS10:
		return "TLSv1"
	case tls.VersionTLS11:
		return "TLSv1.1"
	case tls.VersionTLS12:
		return "TLSv1.2"
	case tls.VersionTLS13:
		return "TLSv1.3"
	}
	return tls.VersionName(version)
}
