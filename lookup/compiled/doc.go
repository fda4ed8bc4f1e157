// Package compiled keeps tables open that another program has compiled, and
// opens them anew when they are replaced.
//
// A File is what lookup.File is for text: a path, the version of it that is in
// force, and a look at the path about once a second. Formats are in other
// packages: bdb and lmdb, whose Open functions return a File. Constant databases
// have a table of their own, in package cdb.
//
// # Strategies
//
// Keys are folded by lookup.Fold, as postmap(1) has folded them when it wrote the
// file. Some programs end keys and values with a NUL and some do not; each key is
// tried in both ways, as Postfix does, and a value ends at its first NUL.
//
// A new version is opened aside and then put in force as a whole. Lookups that
// have begun in the old one end there. A version that cannot be opened leaves the
// last one in force, and Status and the logger say so. A version that was
// written less than two seconds ago is left alone until it has not changed
// between two looks.
//
// # Use
//
//  1. Call Open of the format's package with the whole name of the file:
//     "/etc/postfix/access.db". An error means that there is no such file, or
//     that it is of another format.
//  2. Give the File to whoever asks for a table.
//  3. At SIGHUP call Reload.
//
// A format of your own is a Format: a function that makes a Version of an open
// file. When the Version is a Sequence, All lists the table.
//
// # Caveats
//
// A file that is damaged inside is found out by the lookup that meets the
// damage: that is an error, never a miss. Whoever wants to know that all is there
// reads All to its end.
package compiled
