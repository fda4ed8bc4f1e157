package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/dsn"
	"github.com/mtakit/mtakit/queue/filespool"
	"github.com/mtakit/mtakit/queue/local"
)

// config is what the flags say.
type config struct {
	dir                    string
	dirGiven, logGiven     bool
	smtp, submission       string
	hostname, relayhost    string
	minBackoff, maxBackoff time.Duration
	lifetime, warningAfter time.Duration
	queueRun, timeout      time.Duration
	maxSize                int64
	syncfs, log, metrics   string
	notify, templates      string
	texts                  dsn.Templates // what templates has in it
	control                string
	commands, alwaysBCC    string
	runs                   *local.User // whom commands says; nil when it is ""
	demo                   bool
}

// parseFlags reads the command line. flag.ErrHelp means that the help was asked
// for and has been printed to help.
func parseFlags(args []string, help io.Writer) (config, error) {
	c := config{minBackoff: 300 * time.Second, maxBackoff: 4000 * time.Second, lifetime: 120 * time.Hour,
		warningAfter: 4 * time.Hour, queueRun: time.Second, timeout: 300 * time.Second}
	f := flag.NewFlagSet("mta", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&c.dir, "dir", "mta-data", "`directory` of tables, queue, mail and certificates; made on the first run")
	f.StringVar(&c.smtp, "smtp", "127.0.0.1:2525", "`address` where mail from everywhere comes in; port 0 picks one")
	f.StringVar(&c.submission, "submission", "127.0.0.1:2587", "`address` where users send after STARTTLS and AUTH; \"\" turns it off")
	f.StringVar(&c.hostname, "hostname", "mx.example.test", "our `name` in greetings, Received fields and reports")
	f.StringVar(&c.relayhost, "relayhost", "", "`host:port` that takes everything that is not local; \"\" asks for the MX")
	duration(f, &c.minBackoff, "min-backoff", "shortest `time` between two attempts")
	duration(f, &c.maxBackoff, "max-backoff", "longest `time` between two attempts")
	duration(f, &c.lifetime, "lifetime", "`age` at which mail goes back to its sender; 0 means one attempt")
	duration(f, &c.warningAfter, "warning-after", "`age` of waiting mail at which our own senders are warned; 0 means never")
	duration(f, &c.queueRun, "queue-run", "`time` between two looks into the maildrop, and the longest a due message may wait")
	duration(f, &c.timeout, "timeout", "`time` that an SMTP peer may be idle")
	f.Int64Var(&c.maxSize, "max-size", 10240000, "largest message, `bytes`; 0 means any")
	f.StringVar(&c.syncfs, "syncfs", "auto", "make messages that wait together durable by one syncfs(2): `on`, off, or auto for a directory on an ext4 of its own")
	f.StringVar(&c.notify, "notify", "resource, software", "`classes` of trouble that postmaster is told of: bounce, 2bounce, delay, data, policy, protocol, resource, software; \"\" means nothing")
	f.StringVar(&c.templates, "templates", "", "`file` with the texts of notifications, as Postfix's bounce_template_file; \"\" means those that are built in")
	f.StringVar(&c.log, "log", "text", "`format` of the log on standard error: text, json or off")
	f.StringVar(&c.metrics, "metrics", "", "`address` of an HTTP server with /metrics in Prometheus' text format; \"\" turns it off")
	f.StringVar(&c.control, "control", "control.sock", "`path` of the socket for examples/mqueue, in -dir unless it is absolute; \"\" turns it off")
	f.StringVar(&c.commands, "commands", "", "`user` as whom aliases may run |commands and append to /files; \"\" means that they may not")
	f.StringVar(&c.alwaysBCC, "always-bcc", "", "`address` that gets a copy of all mail that comes in; \"\" means nobody")
	f.BoolVar(&c.demo, "demo", false, "start on free ports, send sample mail through the server, say what became of it, and exit")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(help, "mta is a complete mail server made of mtakit's parts. Flags:")
			f.SetOutput(help)
			f.PrintDefaults()
		}
		return c, err
	}
	f.Visit(func(set *flag.Flag) {
		c.dirGiven = c.dirGiven || set.Name == "dir"
		c.logGiven = c.logGiven || set.Name == "log"
	})
	return c, c.check(f.Args())
}

func (c *config) check(rest []string) error {
	if len(rest) > 0 {
		return fmt.Errorf("unexpected argument %q", rest[0])
	}
	switch c.log {
	case "text", "json", "off":
	default:
		return fmt.Errorf("-log %q: want text, json or off", c.log)
	}
	if _, err := queue.ParseClasses(c.notify); err != nil {
		return fmt.Errorf("-notify %q: %w", c.notify, err)
	}
	if err := c.readTemplates(); err != nil {
		return fmt.Errorf("-templates %q: %w", c.templates, err)
	}
	if err := c.findUser(); err != nil {
		return fmt.Errorf("-commands %q: %w", c.commands, err)
	}
	switch c.syncfs {
	case "auto", "on", "off":
	default:
		return fmt.Errorf("-syncfs %q: want auto, on or off", c.syncfs)
	}
	for _, d := range []struct {
		flag  string
		value time.Duration
		least time.Duration
	}{
		{"min-backoff", c.minBackoff, 1}, {"max-backoff", c.maxBackoff, c.minBackoff}, {"lifetime", c.lifetime, 0},
		{"warning-after", c.warningAfter, 0}, {"queue-run", c.queueRun, 1}, {"timeout", c.timeout, 1},
	} {
		if d.value < d.least {
			return fmt.Errorf("-%s %s: must be at least %s", d.flag, d.value, d.least)
		}
	}
	if c.maxSize < 0 {
		return fmt.Errorf("-max-size %d: must not be negative", c.maxSize)
	}
	return c.checkNames()
}

// findUser finds who commands run as.
func (c *config) findUser() error {
	if c.commands == "" {
		return nil
	}
	u, err := user.Lookup(c.commands)
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 && os.Geteuid() != uid {
		return errors.New("only root can run commands as somebody else")
	}
	c.runs = &local.User{Name: u.Username, UID: uid, GID: gid, Home: u.HomeDir}
	return nil
}

func (c *config) checkNames() error {
	if c.dir == "" {
		return errors.New("-dir must not be empty")
	}
	// It goes into replies, header fields and file names.
	if c.hostname == "" || strings.ContainsFunc(c.hostname, func(r rune) bool {
		return r != '-' && r != '.' && r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	}) {
		return fmt.Errorf("-hostname %q: want a name such as mx.example.org", c.hostname)
	}
	for _, f := range []struct{ flag, addr string }{{"smtp", c.smtp}, {"submission", c.submission}, {"metrics", c.metrics}} {
		if f.addr == "" && f.flag != "smtp" {
			continue
		}
		if _, port, err := net.SplitHostPort(f.addr); err != nil || !isPort(port, 0) {
			return fmt.Errorf("-%s %q: want host:port", f.flag, f.addr)
		}
	}
	if c.relayhost == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(c.relayhost)
	if err != nil || host == "" || !isPort(port, 1) {
		return fmt.Errorf("-relayhost %q: want host:port", c.relayhost)
	}
	return nil
}

func isPort(s string, least uint64) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n >= least
}

// wholeSyncs says whether the queue, or the mailboxes, in dir are to use syncfs(2).
func (c *config) wholeSyncs(dir string) bool {
	return c.syncfs == "on" || c.syncfs == "auto" && filespool.OwnFileSystem(dir)
}

// notifyClasses returns what postmaster is told of.
func (c *config) notifyClasses() queue.Classes {
	classes, _ := queue.ParseClasses(c.notify) // parseFlags has tried it
	return classes
}

// readTemplates reads the file of templates, if there is one.
func (c *config) readTemplates() error {
	if c.templates == "" {
		return nil
	}
	b, err := os.ReadFile(c.templates)
	if err == nil {
		c.texts, err = dsn.ParseTemplates(b)
	}
	return err
}

// duration defines a flag that takes Go's durations ("300s", "4h") and Postfix's
// ("5d", "1w", and a bare number for seconds).
func duration(f *flag.FlagSet, d *time.Duration, name, usage string) {
	f.Var(postfixDuration{d}, name, usage)
}

type postfixDuration struct{ *time.Duration }

func (d postfixDuration) String() string {
	if d.Duration == nil {
		return ""
	}
	return d.Duration.String()
}

func (d postfixDuration) Set(s string) error {
	v, err := parseDuration(s)
	if err == nil {
		*d.Duration = v
	}
	return err
}

func parseDuration(s string) (time.Duration, error) {
	if v, err := time.ParseDuration(s); err == nil {
		return v, nil
	}
	unit, digits := time.Second, s
	if n := len(s); n > 0 {
		switch s[n-1] {
		case 'd':
			unit, digits = 24*time.Hour, s[:n-1]
		case 'w':
			unit, digits = 7*24*time.Hour, s[:n-1]
		}
	}
	v, err := strconv.ParseInt(digits, 10, 32)
	if err != nil || time.Duration(v)*unit/unit != time.Duration(v) {
		return 0, errors.New("want a duration such as 300s, 4h or 5d")
	}
	return time.Duration(v) * unit, nil
}
