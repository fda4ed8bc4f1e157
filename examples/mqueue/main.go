// Command mqueue looks at a mail queue and changes it: that of a running server,
// through its control socket, or that of a server that does not run, in the
// spool's folder. It is a small program over package queue/control.
//
//	mqueue [-socket PATH | -queue DIR] SUBCOMMAND [flags] [ID...]
//
//	list      what is in the queue, as mailq shows it
//	show      envelope, header and body of messages
//	flush     try now: everything, or what is meant
//	hold      no delivery of these until they are released
//	release   take these off hold, and try now
//	requeue   accept these anew, through the filters, under new IDs
//	expire    give these up without a further attempt; their senders are told
//	delete    forget these; nobody is told
//	check     verify all checksums, and list what was put aside as damaged
//	shape     how many recipients wait for which domain, by age
//
// Without -socket and -queue it is the socket mta-data/control.sock when somebody
// serves it, and otherwise the folder mta-data/queue. While a server runs, its
// folder can be looked at but not changed.
//
// Messages are meant by ID, where "*" and "?" stand for any text and any letter,
// "ALL" for every message and "-" for the IDs on standard input; or by -sender,
// -recipient, -site, -older, -id and -in, which must all hold. What would change
// messages is done for all that are meant or, when one of the IDs is not there,
// for none; and then what could not be done is said, one by one.
//
// # Exit codes
//
//	0    all was done
//	1    some was not; each of it is said on standard error
//	64   the command line makes no sense
//	69   there is no server at the socket, or no spool in the folder
//	75   not now: the spool is in use by a server, or the server is too busy
//	77   you may not do that
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/control"
)

// The exit codes, as in sysexits.h but for the first two.
const (
	exitDone         = 0
	exitSome         = 1
	exitUsage        = 64
	exitUnavailable  = 69
	exitTemporary    = 75
	exitNoPermission = 77
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second one ends it at once
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run does what the command line says, and returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	c, err := parse(args, stdin)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, help)
		return exitDone
	}
	t := &tool{command: c, out: stdout, err: stderr}
	if err == nil {
		err = t.run(ctx)
	}
	if err == nil && t.failed == 0 {
		return exitDone
	}
	if err != nil {
		t.complain("", err)
	}
	return code(err)
}

// code is the exit code for an error; nil means that some was not done.
func code(err error) int {
	for _, c := range []struct {
		err  error
		code int
	}{
		{control.ErrUsage, exitUsage}, {control.ErrServer, exitUnavailable}, {errNoSpool, exitUnavailable}, {queue.ErrVersion, exitUnavailable},
		{control.ErrUnsupported, exitUnavailable}, {errInUse, exitTemporary}, {control.ErrTemporary, exitTemporary},
		{control.ErrDenied, exitNoPermission}, {fs.ErrPermission, exitNoPermission},
	} {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	return exitSome
}

// complain says what was not done. Errors hold what others said: no terminal is
// to obey it.
func (t *tool) complain(id string, err error) {
	t.failed++
	text := strings.ReplaceAll(strings.TrimPrefix(err.Error(), "control: "), "\n", "; ")
	switch {
	case errors.Is(err, queue.ErrNotFound):
		text = "no such message"
	case errors.Is(err, control.ErrHeld):
		text = "it is on hold"
	}
	if id != "" {
		text = id + ": " + text
	}
	t.bar.clear()
	fmt.Fprintf(t.err, "mqueue: %s\n", control.Printable(text))
}
