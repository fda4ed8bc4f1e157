package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mtakit/mtakit/queue/control"
)

const help = `mqueue [-socket PATH | -queue DIR] SUBCOMMAND [flags] [ID...]

Looks at a mail queue and changes it: that of a running server, through its
control socket, or that of a server that does not run, in the spool's folder.
Without -socket and -queue it is the socket mta-data/control.sock when somebody
serves it, and otherwise the folder mta-data/queue.

  list     [-json]       what is in the queue, as mailq shows it
  show     [-json] [-envelope] [-header] [-body]
                         a message: all of it, or these parts
  flush    [-order priority|host|filename|random|time]
                         try now: everything that is not on hold, or what is
                         meant; in this order, when a server runs
  hold     [-reason TEXT]
                         no delivery of these until they are released
  release                take these off hold, and try now
  requeue                accept these anew, through the filters, under new IDs
  expire                 give these up; their senders are told
  delete                 forget these; nobody is told
  check    [-repair]     verify all checksums, and list what is damaged; with
                         -repair it is put aside, into corrupt/
  shape    [-s] [-b N] [-t MINUTES]
                         how many recipients (-s: messages, by their senders) wait
                         for which domain, in N columns of age

Which messages are meant:

  ID...               these; "*" and "?" stand for any text and any letter
  ALL                 every message
  -                   the IDs on standard input, one a line
  -sender PATTERN     those of a sender; "<>" is the null sender
  -recipient PATTERN  those for a recipient that is not finished
  -site DOMAIN        those for a domain; ".example.org" is all below it
  -older AGE          those that came that long ago: 90s, 30m, 4h, 5d
  -id PATTERN         those with such an ID
  -in QUEUE           those in incoming, active, deferred or hold; list and show
                      also have maildrop, what the server has not taken yet, and
                      list has corrupt, what was put aside

A pattern is looked for anywhere, or compared with the whole when it has a "*"
or "?" in it. "!" in front turns it round. All that is given must hold. list,
flush, check and shape take every message when nothing is given. The others
want to be told, and do nothing at all when one of the IDs is not there.

  -v                  say each ID that something was done with; flush says those
                      that it is given

Exit codes: 0 all was done; 1 some was not, and each of it is said; 64 the
command line makes no sense; 69 no server, or no spool; 75 not now: the spool is
in use by a server (use -socket), or the server is busy; 77 you may not do that.
`

// command is what the command line says.
type command struct {
	socket, queue string
	name          string
	control.Selection
	all, json, verbose     bool
	envelope, header, body bool
	reason, sort           string
	repair                 bool
	senders                bool
	buckets, minutes       int
}

// changes are the subcommands that do something with messages that are meant.
var changes = []string{"hold", "release", "requeue", "expire", "delete"}

// subcommands are all.
var subcommands = append([]string{"list", "show", "flush", "check", "shape"}, changes...)

func parse(args []string, stdin io.Reader) (command, error) {
	var c command
	f := newFlags(&c)
	if err := f.Parse(args); err != nil {
		return c, usage(err)
	}
	c.name = f.Arg(0)
	if !slices.Contains(subcommands, c.name) {
		return c, fmt.Errorf("%w: want one of %s; see mqueue -h", control.ErrUsage, strings.Join(subcommands, ", "))
	}
	f, rest := c.flags(), f.Args()[1:]
	var ids []string
	for { // flags may stand behind IDs
		if err := f.Parse(rest); err != nil {
			return c, usage(err)
		}
		if f.NArg() == 0 {
			break
		}
		ids, rest = append(ids, f.Arg(0)), f.Args()[1:]
	}
	if err := c.meant(ids, stdin); err != nil {
		return c, err
	}
	return c, c.check()
}

func usage(err error) error {
	if errors.Is(err, flag.ErrHelp) {
		return err
	}
	return fmt.Errorf("%w: %w", control.ErrUsage, err)
}

// newFlags are those that may stand before the subcommand.
func newFlags(c *command) *flag.FlagSet {
	f := flag.NewFlagSet("mqueue", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&c.socket, "socket", c.socket, "")
	f.StringVar(&c.queue, "queue", c.queue, "")
	f.BoolVar(&c.verbose, "v", c.verbose, "")
	return f
}

// flags are those of the subcommand.
func (c *command) flags() *flag.FlagSet {
	f := newFlags(c)
	f.StringVar(&c.Sender, "sender", "", "")
	f.StringVar(&c.Recipient, "recipient", "", "")
	f.StringVar(&c.Site, "site", "", "")
	f.StringVar(&c.ID, "id", "", "")
	f.StringVar(&c.Queue, "in", "", "")
	f.Func("older", "", func(s string) (err error) {
		c.Older, err = age(s)
		return err
	})
	switch c.name {
	case "list":
		f.BoolVar(&c.json, "json", false, "")
	case "show":
		f.BoolVar(&c.json, "json", false, "")
		f.BoolVar(&c.envelope, "envelope", false, "")
		f.BoolVar(&c.header, "header", false, "")
		f.BoolVar(&c.body, "body", false, "")
	case "hold":
		f.StringVar(&c.reason, "reason", "held by the operator", "")
	case "flush":
		f.StringVar(&c.sort, "order", "", "")
	case "check":
		f.BoolVar(&c.repair, "repair", false, "")
	case "shape":
		f.BoolVar(&c.senders, "s", false, "")
		f.IntVar(&c.buckets, "b", 10, "")
		f.IntVar(&c.minutes, "t", 5, "")
	}
	return f
}

// age reads a duration as Go writes it, or days: "5d".
func age(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, errors.New("want an age such as 90s, 30m, 4h or 5d")
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	return time.ParseDuration(s)
}

// meant takes the IDs of the command line.
func (c *command) meant(ids []string, stdin io.Reader) error {
	for _, id := range ids {
		switch id {
		case "ALL":
			c.all = true
		case "-":
			lines := bufio.NewScanner(stdin)
			for lines.Scan() {
				if id := strings.TrimSpace(lines.Text()); id != "" {
					c.IDs = append(c.IDs, id)
				}
			}
			if err := lines.Err(); err != nil {
				return fmt.Errorf("reading IDs: %w", err)
			}
			// Nothing on standard input means nothing, not everything.
			if len(c.IDs) == 0 {
				return fmt.Errorf("%w: no ID on standard input", control.ErrUsage)
			}
		case "":
			return fmt.Errorf("%w: an empty ID", control.ErrUsage)
		default:
			c.IDs = append(c.IDs, id)
		}
	}
	return nil
}

// check finds what makes no sense.
func (c *command) check() error {
	if c.socket != "" && c.queue != "" {
		return fmt.Errorf("%w: -socket and -queue exclude each other", control.ErrUsage)
	}
	if c.all && !c.Selection.All() {
		return fmt.Errorf("%w: ALL stands alone", control.ErrUsage)
	}
	if (c.name == "show" || slices.Contains(changes, c.name)) && !c.all && c.Selection.All() {
		return fmt.Errorf("%w: %s which messages? ALL means every one", control.ErrUsage, c.name)
	}
	if orders := []string{"", "priority", "host", "filename", "random", "time"}; !slices.Contains(orders, c.sort) {
		return fmt.Errorf("%w: -order is one of%s", control.ErrUsage, strings.Join(orders, " "))
	}
	if c.name == "shape" && (c.buckets < 2 || c.buckets > 30 || c.minutes < 1) {
		return fmt.Errorf("%w: want 2 to 30 columns, and a minute at least", control.ErrUsage)
	}
	if looks := c.name == "list" || c.name == "show"; !looks && (c.Queue == "maildrop" || c.Queue == "corrupt") {
		return fmt.Errorf("%w: mail in %s can only be listed and shown", control.ErrUsage, c.Queue)
	}
	return c.Selection.Check()
}
