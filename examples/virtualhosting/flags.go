package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// maxSize is the largest message in bytes, as in Postfix.
const maxSize = 10240000

// config is what the flags say.
type config struct {
	dir, mail              string
	mysql, cf              string
	init                   bool
	smtp, submission       string
	hostname, domain       string
	relayhost              string
	deferOverQuota, chown  bool
	minBackoff, maxBackoff time.Duration
	log                    string
	demo                   bool
}

// parseFlags reads the command line. flag.ErrHelp means that the help was asked
// for and has been printed to help.
func parseFlags(args []string, help io.Writer) (config, error) {
	var c config
	f := flag.NewFlagSet("virtualhosting", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&c.dir, "dir", "virtualhosting-data", "`directory` of queue, certificates and the SQLite file; made on the first run")
	f.StringVar(&c.mail, "mail", "", "`directory` below which the homes of the users are; \"\" means mail in -dir")
	f.StringVar(&c.mysql, "mysql", "", "MariaDB or MySQL, `user:password@unix(/path)/mail` or user:password@tcp(host:3306)/mail; \"\" means an SQLite file in -dir")
	f.StringVar(&c.cf, "cf", "", "`directory` with mysql_virt.cf and further files of mysql_table(5), whose queries are used in the place of ours")
	f.BoolVar(&c.init, "init", false, "make the tables that the database lacks, and a sample domain if it has none; always done for an SQLite file")
	f.StringVar(&c.smtp, "smtp", "127.0.0.1:2525", "`address` where mail from everywhere comes in; port 0 picks one")
	f.StringVar(&c.submission, "submission", "127.0.0.1:2587", "`address` where users send after STARTTLS and AUTH")
	f.StringVar(&c.hostname, "hostname", "mx.example.test", "our `name` in greetings, Received fields and reports")
	f.StringVar(&c.domain, "domain", "example.test", "`domain` of addresses that have none, and of postmaster")
	f.StringVar(&c.relayhost, "relayhost", "", "`host:port` that takes everything that is not for our domains; \"\" asks for the MX")
	f.BoolVar(&c.deferOverQuota, "defer-over-quota", false, "let mail for a full mailbox wait, instead of bouncing it")
	f.BoolVar(&c.chown, "chown", os.Geteuid() == 0, "give mailboxes to the uid and gid of their users, as root can; they must be 100 or more")
	f.DurationVar(&c.minBackoff, "min-backoff", 300*time.Second, "shortest `time` between two attempts")
	f.DurationVar(&c.maxBackoff, "max-backoff", 4000*time.Second, "longest `time` between two attempts")
	f.StringVar(&c.log, "log", "text", "`format` of the log on standard error: text or off")
	f.BoolVar(&c.demo, "demo", false, "start on free ports with a new SQLite file, send sample mail, say what became of it, and exit")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(help, "virtualhosting is a mail server for virtual domains in a database. Flags:")
			f.SetOutput(help)
			f.PrintDefaults()
		}
		return c, err
	}
	if f.NArg() > 0 {
		return c, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	return c, c.check()
}

func (c *config) check() error {
	switch {
	case c.dir == "" || c.hostname == "" || c.domain == "":
		return errors.New("-dir, -hostname and -domain must not be empty")
	case c.log != "text" && c.log != "off":
		return fmt.Errorf("-log %q: want text or off", c.log)
	case c.minBackoff <= 0:
		return fmt.Errorf("-min-backoff %s: must be more than nothing", c.minBackoff)
	case c.demo && (c.mysql != "" || c.cf != ""):
		return errors.New("-demo has an SQLite file of its own: leave -mysql and -cf out")
	}
	if c.relayhost != "" {
		if host, port, err := net.SplitHostPort(c.relayhost); err != nil || host == "" || port == "" {
			return fmt.Errorf("-relayhost %q: want host:port", c.relayhost)
		}
	}
	return nil
}

// relayhost turns the flag's HOST:PORT into a next hop whose MX is not asked for.
func relayhost(hostPort string) string {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("[%s]:%s", host, port)
}
