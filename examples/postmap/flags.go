package main

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// options are what the command line says.
type options struct {
	command     string  // "convert", "explain" or ""
	query       *string // -q
	remove      *string // -d
	sequence    bool    // -s
	incremental bool    // -i
	replace     bool    // -r
	public      bool    // -p
	header      bool    // -h
	body        bool    // -b
	mime        bool    // -m
	kind        string  // of explain
	delimiters  string  // of explain
	tables      []string
}

// ignored are the letters that change nothing here.
const ignored = "fnNouUvw"

// parse reads a command line as getopt(3) does: "-is" is "-i -s", and "-qKEY" is
// "-q KEY".
func parse(args []string) (o options, err error) {
	if len(args) > 0 && (args[0] == "convert" || args[0] == "explain") {
		return parseCommand(args)
	}
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		letters := args[0][1:]
		args = args[1:]
		if letters == "-" {
			break
		}
		for letters != "" {
			letter := letters[0]
			letters = letters[1:]
			if strings.IndexByte("qdc", letter) < 0 {
				if err := o.set(letter); err != nil {
					return o, err
				}
				continue
			}
			if letters == "" && len(args) == 0 {
				return o, errUsage
			}
			value := letters
			if value == "" {
				value, args = args[0], args[1:]
			}
			letters = ""
			if err := o.setValue(letter, value); err != nil {
				return o, err
			}
		}
	}
	o.tables = args
	return o, o.check()
}

func (o *options) set(letter byte) error {
	switch letter {
	case 's':
		o.sequence = true
	case 'i':
		o.incremental = true
	case 'r':
		o.replace = true
	case 'p':
		o.public = true
	case 'F':
		return fmt.Errorf("-F is not known: values that are names of files are not followed")
	case 'h':
		o.header = true
	case 'b':
		o.body = true
	case 'm':
		o.mime = true
	default:
		if strings.IndexByte(ignored, letter) < 0 {
			return fmt.Errorf("invalid option -%c; %w", letter, errUsage)
		}
	}
	return nil
}

func (o *options) setValue(letter byte, value string) error {
	where := map[byte]**string{'q': &o.query, 'd': &o.remove}[letter]
	if where == nil {
		return nil // -c, the directory of main.cf, of which nothing is needed
	}
	if o.query != nil || o.remove != nil {
		return fmt.Errorf("specify only one of -s -q or -d")
	}
	*where = &value
	return nil
}

func (o *options) check() error {
	switch {
	case len(o.tables) == 0:
		return errUsage
	case o.sequence && (o.query != nil || o.remove != nil):
		return fmt.Errorf("specify only one of -s or -q or -d")
	case (o.header || o.body || o.mime) && (o.query == nil || *o.query != "-"):
		return fmt.Errorf("specify -b -h or -m only with \"-q -\"")
	}
	return nil
}

func parseCommand(args []string) (o options, err error) {
	o.command, o.kind, args = args[0], "plain", args[1:]
	for len(args) > 1 && (args[0] == "-kind" || args[0] == "-delimiters") {
		if args[0] == "-kind" {
			o.kind = args[1]
		} else {
			o.delimiters = args[1]
		}
		args = args[2:]
	}
	if o.command == "explain" && len(args) > 0 {
		o.query, args = &args[0], args[1:]
	}
	o.tables = args
	if len(args) == 0 || o.command == "convert" && len(args) != 2 {
		return o, errUsage
	}
	return o, nil
}

// warnings is a logger whose lines look like Postfix's.
func warnings(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}
