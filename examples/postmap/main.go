// Command postmap asks tables and makes them, with the command line and the exit
// codes of postmap(1). It is a small program over package lookup and its Opener;
// types.go says which types of tables it knows.
//
//	postmap -q KEY type:name...    the value under KEY in the first table that has it
//	postmap -q - type:name...      for each key on standard input: key, tab, value
//	postmap -h -b -m -q - type:name
//	                               for the header fields and body lines of a message
//	postmap -s type:name...        all that is in the tables
//	postmap cdb:file               makes file.cdb of the text file
//	postmap -i cdb:file            adds what is on standard input to file.cdb
//	postmap -d KEY cdb:file        takes a key away; -d - those on standard input
//	postmap hash:file              checks the text file; there is nothing to make
//	postmap convert FROM TO        writes one table as another: a text, or cdb
//	postmap explain [-kind KIND] KEY type:name...
//	                               which keys are asked for, and which one is found
//
// With -r a key that is there already is replaced without a word; otherwise the
// first value stays and the second is told of. A file has the permissions of what it is
// made of, but with -p, which lets everybody read it. -o, -n, -N, -f, -u, -U and -w
// are taken and change nothing: tables fold keys by themselves, and files keep their owners.
//
// # Exit codes
//
//	0    found, or done
//	1    not found, or it could not be done, which is said on standard error
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/mtakit/mtakit/lookup"
)

func main() {
	found, err := run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "postmap: fatal:", err)
	}
	if !found || err != nil {
		os.Exit(1)
	}
}

// errUsage is what is wrong with most command lines.
var errUsage = errors.New("usage: postmap [-bhimr] [-d key] [-q key] [-s] [map_type:]file, or convert FROM TO, or explain [-kind KIND] KEY type:name")

// tool is one call of the program.
type tool struct {
	options
	opener *lookup.Opener
	in     io.Reader
	out    io.Writer
	errs   io.Writer
}

// run does what the command line says. found is false when a key was asked for
// that is nowhere.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) (found bool, err error) {
	o, err := parse(args)
	if err != nil {
		return false, err
	}
	base, err := os.Getwd()
	if err != nil {
		return false, err
	}
	t := &tool{options: o, in: in, out: out, errs: errs}
	t.opener = &lookup.Opener{Types: types(), Dirs: []string{"/"}, Base: base, Options: lookup.Options{Check: -1, Logger: warnings(errs)}}
	defer func() { err = errors.Join(err, t.opener.Close()) }()
	switch {
	case o.command == "convert":
		return true, t.convert(ctx, o.tables[0], o.tables[1])
	case o.command == "explain":
		return t.explain(ctx)
	case o.query != nil:
		return t.ask(ctx, *o.query)
	case o.sequence:
		return true, t.list(ctx)
	case o.remove != nil:
		return t.remove(ctx, *o.remove)
	}
	return true, t.build(ctx)
}
