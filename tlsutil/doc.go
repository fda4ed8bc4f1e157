// Package tlsutil makes certificates, keeps them up to date in running servers,
// and gives TLS settings that suit mail.
//
// The strategies:
//
//   - A certification authority of one's own, so that a server has a certificate
//     on its first day and clients inside a site can verify it: CA.
//   - A folder that fills itself with what is missing: Dir, EnsureServer.
//   - Hot reload: a pair of files is read again when it changes, and a broken
//     one never replaces the one in use: Pair.
//   - Opportunistic encryption, Postfix's level "may": ClientMay; and verified
//     encryption: ClientVerify.
//
// # Use
//
//  1. pair, err := tlsutil.EnsureServer("tls", "mx.example.org") on start; or
//     LoadPair for certificates that come from elsewhere.
//  2. tlsutil.Server(pair) is the server's *tls.Config.
//  3. pair.Reload() on SIGHUP. Changed files are found without it too.
//  4. Dir.Renew now and then, for certificates that Dir made.
//  5. tlsutil.State(conn.ConnectionState()) is what goes into the session.
//
// # Files
//
// Keys are written with mode 0600, certificates with 0644. A file appears with
// its whole content or not at all, synced together with its folder, and a file
// that exists is never written over; only Renew replaces one, a certificate that
// Dir's own CA has signed. Each key is on disk before its certificate, and a
// certificate that is missing is made for the key that is there: a crash at any
// moment leaves what the next start completes.
//
// # Caveats
//
// Keys are ECDSA P-256, which some mail software of the years before 2010 cannot
// use. A crash may leave a temporary file whose name begins with a dot; it can be
// deleted. Revocation is not checked. DANE, MTA-STS and a choice of certificates by
// server name are not here.
package tlsutil
