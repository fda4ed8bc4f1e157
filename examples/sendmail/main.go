// Command sendmail is the program that others send mail with: /usr/sbin/sendmail,
// for a server made of mtakit's parts, with the options of Postfix's.
//
// A message goes to the server through its socket when there is one, so that the
// answer is the queue ID; into its maildrop when no server runs and the user may
// write there; and otherwise there by way of examples/postdrop, which is looked for
// beside this program. So mail can be sent at any time, and sendmail itself needs
// no privileges: it must not be setuid or setgid. README.md says how to install it.
//
// What it is called decides too: "mailq" is sendmail -bp, "newaliases" sendmail -bi.
//
// It ends with a code of sysexits(3): 0 done, 64 used in a wrong way, 65 no
// proper message, 67 no such user (-bv), 69 refused or there is no server, 71 to 74 trouble of the system,
// 75 try again later, 77 not permitted, 78 set up in a wrong way.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// What it was built for: go build -ldflags "-X main.directory=... -X main.limit=...".
var (
	directory = "/var/spool/mtakit" // the server's -dir
	socket    = ""                  // its -control; "" means control.sock in the directory
	limit     = "10240000"          // bytes of a message
)

// sysexits(3).
const (
	exitOK          = 0
	exitUsage       = 64
	exitDataErr     = 65
	exitNoUser      = 67
	exitUnavailable = 69
	exitSoftware    = 70
	exitOSErr       = 71
	exitCantCreat   = 73
	exitIOErr       = 74
	exitTempFail    = 75
	exitNoPerm      = 77
	exitConfig      = 78
)

// failure is an error and the code that the program ends with.
type failure struct {
	code int
	err  error
}

// Error returns the text of the error.
func (f *failure) Error() string { return f.err.Error() }

// Unwrap returns the error.
func (f *failure) Unwrap() error { return f.err }

func fail(code int, format string, args ...any) error {
	return &failure{code, fmt.Errorf(format, args...)}
}

func main() {
	// A limit on file sizes is an error of write(2), not the end.
	signal.Ignore(syscall.SIGXFSZ)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	code := run(ctx, os.Args, os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdin, stdout, stderr *os.File) int {
	out := bufio.NewWriter(stdout)
	err := unprivileged()
	var o *options
	if err == nil {
		o, err = parse(args)
	}
	if err == nil {
		err = o.do(ctx, stdin, stdout, out)
	}
	// A message that was handed over is gone, whoever wants to hear of it.
	if bad := out.Flush(); err == nil && bad != nil && o.mode != modeSend {
		err = fail(exitIOErr, "%w", bad)
	}
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(stderr, "sendmail: %s\n", printable(err.Error()))
	if f, ok := errors.AsType[*failure](err); ok {
		return f.code
	}
	return exitSoftware
}

// unprivileged gives up what the user who runs this does not have. Other programs
// that are setuid run sendmail, and its options and environment are the user's.
func unprivileged() error {
	if gid := os.Getgid(); gid != os.Getegid() {
		if err := syscall.Setregid(gid, gid); err != nil {
			return fail(exitOSErr, "giving up the group: %w", err)
		}
	}
	if uid := os.Getuid(); uid != os.Geteuid() {
		if err := syscall.Setreuid(uid, uid); err != nil {
			return fail(exitOSErr, "giving up the user: %w", err)
		}
	}
	return nil
}

func (o *options) do(ctx context.Context, stdin, stdout *os.File, out io.Writer) error {
	switch o.mode {
	case modeSMTP:
		return o.smtp(ctx, stdin, stdout)
	case modeList:
		return o.list(ctx, out)
	case modeFlush:
		return o.flush(ctx, out)
	case modeAliases:
		return o.checkAliases(out)
	case modeVerify:
		return o.verify(ctx, stdin, out)
	}
	return o.send(ctx, stdin, out)
}

// printable is text that a terminal can be given, on one line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return ' '
		case r < ' ' || r >= 0x7f && r < 0xa0:
			return '?'
		}
		return r
	}, s)
}
