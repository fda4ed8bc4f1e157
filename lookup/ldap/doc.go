// Package ldap looks keys up in directories: the tables of ldap_table(5), so that the
// *.cf files that an administrator has work unchanged.
//
// # Strategies
//
// A key becomes a search: what a filter's %s stands for is escaped as RFC 4515 says,
// and a base's as RFC 4514 says, so that no key changes the question. A key that lacks
// a part that the search wants, as "@example.org" lacks %u, is not asked for.
//
// The values of the attributes of all entries are joined with ",". Special attributes
// hold the names of other entries, or LDAP URLs, which are searched for on the same
// connection. What is too much is an error, never less than all: values, entries, depth.
//
// Connections are kept, up to a bound over all servers; who comes then waits. One
// lookup has one connection. A kept one that turns out to be dead is replaced at once.
// Servers are asked in the order in which they stand; one that cannot be reached, does not
// answer in time, or says that it is busy or unavailable is left alone for a while when there are others.
//
// What a server sends is looked at before it is decoded: a message that is no LDAP
// message, nested too deep or too long ends the connection.
//
// # Use
//
//  1. Fill in a Config, or have ReadConfig do so from a *.cf file, and call New.
//     Nothing is connected before the first lookup. Or give Open to a lookup.Opener:
//     Types["ldap"] = ldap.Open.
//  2. Close the table at the end.
//
// # The parameters of files
//
// Read are server_host, server_port, timeout, search_base, query_filter,
// result_format (and result_filter), domain, result_attribute,
// special_result_attribute, terminal_result_attribute, leaf_result_attribute, scope,
// bind, bind_dn, bind_pw, dereference, recursion_limit, expansion_limit, size_limit,
// start_tls, tls_ca_cert_file, tls_ca_cert_dir, tls_cert, tls_key and
// tls_require_cert. As with Postfix, tls_require_cert is no when it is absent: then
// anybody can play the server. The zero Config does check.
//
// Others have no effect: cache, cache_expiry and cache_size, which Postfix ignores, too (see
// lookup.Cache); debuglevel, which is of OpenLDAP's library (see Logger); tls_random_file;
// tls_cipher_suite, whose language depends on the library that OpenLDAP was built with, and
// whose purpose Go's choice of suites serves; sasl_realm. version is 3, and 2 is taken for it:
// servers have not spoken 2 for long.
//
// Refused is what would be done otherwise than the file says: chase_referrals = yes,
// bind = sasl with another mechanism than EXTERNAL, sasl_authz_id, and a sasl_minssf
// that is not 0.
//
// # Caveats
//
// References to other servers that a search gives among its entries are not
// followed, as with chase_referrals = no; a server that answers with nothing but a
// referral is an error. The host in an LDAP URL is not heeded, as in Postfix.
//
// Each entry is looked at for itself. Postfix 3.7 leaves out what stands in entries without a
// terminal attribute once the search has found one that has one.
//
// With tls_require_cert = no, what of a certificate is checked is nothing.
//
// One lookup may take 16 MiB of answers and 10,000 searches; an LDAP URL may have 8 KiB.
package ldap
