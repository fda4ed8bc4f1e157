// Package redis looks keys up in Redis and what speaks its protocol (Valkey, KeyDB):
// in strings by GET, or in the fields of hashes by HGET.
//
// # Strategies
//
// Not there is a nil reply or an empty value; what else the server or the network says
// is an error. The servers are asked in their order; one that fails, or says
// that it cannot answer now (LOADING, MASTERDOWN, CLUSTERDOWN), is left alone for a while.
//
// Keys are sent with their length, so that nothing in them is a command.
//
// # Use
//
//  1. Call New with a Config, or Open through a lookup.Opener: it is the OpenFunc of
//     "redis".
//  2. Close the table at the end.
//
// Postfix has no such tables; the *.cf file has the names of its other ones:
//
//	hosts          inet:host:port or unix:/path, in the order in which they are asked;
//	               default: inet:localhost:6379
//	user           default: that of "requirepass"
//	password
//	dbname         number of the database; default: 0
//	key_format     what is asked for; default: %s
//	hash_format    name of the hash whose field that is; default: none, it is a string
//	result_format  default: %s
//	domain         as in mysql_table(5)
//	timeout        seconds; default: 5
//	retry_interval seconds that a failed server is left alone; default: 60
//	tls            yes or no; default: no
//	tls_ca_cert_file
//
// # Caveats
//
// A value is one result: lists, sets and the like are errors (WRONGTYPE). Replicas may be
// behind. When more connections than Conns have been refused, the client library tries once a
// second whether the server is back, and refuses lookups meanwhile. It writes troubles of its
// connections to standard error;
// a program that does not want that calls its SetLogger.
package redis
