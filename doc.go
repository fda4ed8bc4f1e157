// Package mtakit is a toolkit of mail-pipeline parts: what Postfix knows, as Go
// packages that a program imports one by one. This root package holds only the
// words that the parts speak to each other: values, no I/O.
//
// # The picture
//
//	net.Conn                                                                    the world
//	   |                                                                            ^
//	[smtpserver]--Restriction*--ContentFilter*--Queue-------------------DeliveryAgent
//	      |            |              |          |  \                         |
//	   tlsutil      lookup         lookup      Spool  Router               tlsutil
//
// Every box is a package. None imports another: each declares, beside its
// caller, the one-to-three-method interface that it needs, and they fit by
// their shapes. The lines are drawn in a program, as a Go literal;
// examples/mta is such a program.
package mtakit
