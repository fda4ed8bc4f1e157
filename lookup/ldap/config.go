package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/internal/certfile"
)

// Scope is how far below its base a search goes.
type Scope int

// The scopes of RFC 4511 4.5.1.2.
const (
	Subtree  Scope = iota // the base and all below it
	Base                  // the base alone
	OneLevel              // what is directly below the base
)

// Bind is how a connection logs in.
type Bind int

const (
	// Simple is a name and a password; without these nobody in particular.
	Simple Bind = iota
	// NoBind does not log in.
	NoBind
	// External is SASL's EXTERNAL: who the socket's other end or the client's
	// certificate is.
	External
)

// Dereference is when aliases in the directory are followed.
type Dereference int

// The values of RFC 4511 4.5.1.3.
const (
	Never Dereference = iota
	Searching
	FindingBase
	Always
)

// Config is what a table asks, and whom. The zero value asks localhost for the
// attribute maildrop, below the root of the directory.
type Config struct {
	// Servers are the URLs of the servers in the order in which they are tried:
	// "ldap://host:389", "ldaps://host:636", "ldapi://%2Fpath%2Fof%2Fsocket". nil
	// means "ldap://localhost:389".
	Servers []string
	// Base is the name of the entry at which the search begins, with
	// %-expansions. "" means the root.
	Base string
	// Filter is that of RFC 4515, with %-expansions in the values. "" means
	// "(mailacceptinggeneralid=%s)".
	Filter string
	// Scope is how far the search goes. 0 means Subtree.
	Scope Scope
	// Dereference is when aliases are followed. 0 means Never.
	Dereference Dereference
	// Attributes have the values that are returned. nil means maildrop; a list
	// without names means none.
	Attributes []string
	// Terminal attributes keep all others from being looked at in an entry that has
	// one. nil means none.
	Terminal []string
	// Leaf attributes count only in entries without special ones. nil means none.
	Leaf []string
	// Special attributes hold names of entries or LDAP URLs, which are searched for. nil
	// means none.
	Special []string
	// Result is what becomes of each value: %s, %u and %d are parts of the value,
	// the others of the key. "" means "%s".
	Result string
	// Domains has the domains that are asked for: other keys, and those without
	// "user@", are not found. nil asks for every key.
	Domains lookup.LookupTable
	// Limit is how many values a key may have; more are an error. 0 means any number.
	Limit int
	// SizeLimit is how many entries a search may find; more are an error. 0 means
	// Limit, negative any number.
	SizeLimit int
	// Recursion is how deep the entries of a lookup may lie, 1 being those that the
	// filter finds; deeper is an error. 0 means 1000.
	Recursion int

	Bind     Bind   // 0 means Simple
	BindDN   string // who logs in; "" means nobody in particular
	Password string // "" means none
	// StartTLS has TLS begin on connections to "ldap:" and "ldapi:", or fail. false
	// means that these are in the clear.
	StartTLS bool
	// TLS is used by StartTLS and "ldaps:". nil means that servers are verified with
	// the system's authorities. ServerName is set for each server if it is "".
	TLS *tls.Config

	// Timeout bounds connecting with all that belongs to it, and each search. 0
	// means 10 seconds.
	Timeout time.Duration
	Conns   int           // the most connections at a time, over all servers; 0 means 10
	Idle    time.Duration // how long a connection is kept that nobody uses; 0 means a minute
	Retry   time.Duration // how long a server that has failed is left alone; 0 means a minute
	Logger  *slog.Logger  // is told of servers that fail and come back; nil means silence
}

// defaultFilter is ldap_table(5)'s.
const defaultFilter = "(mailacceptinggeneralid=%s)"

// Open opens a table of a *.cf file: it is the lookup.OpenFunc of "ldap".
func Open(ctx context.Context, o *lookup.Opener, name string) (lookup.LookupTable, error) {
	path, err := o.File(name)
	if err != nil {
		return nil, err
	}
	params, err := lookup.ReadParams(path)
	if err != nil {
		return nil, err
	}
	c := parse(params)
	if err := params.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	c.Logger = o.Options.Logger
	if c.Domains, err = o.Domains(ctx, params.Text("domain")); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	t, err := New(*c)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// ReadConfig reads a *.cf file. Domains that are files or tables need what Open has.
func ReadConfig(path string) (*Config, error) {
	params, err := lookup.ReadParams(path)
	if err != nil {
		return nil, err
	}
	c := parse(params)
	if err := params.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if c.Domains, err = (&lookup.Config{File: path, Domains: params.Words("domain")}).DomainTable(nil); err != nil {
		return nil, err
	}
	return c, nil
}

// oneOf reads a parameter that is one of some words.
func oneOf[T any](p *lookup.Params, name, def string, values map[string]T) T {
	word := strings.ToLower(p.Text(name))
	if word == "" {
		word = def
	}
	v, ok := values[word]
	if !ok {
		p.Reject(name)
	}
	return v
}

// words parts a list at commas and white space.
func words(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) })
}

// parse reads all parameters but domain.
func parse(p *lookup.Params) *Config {
	c := &Config{
		Base: p.Text("search_base"), Filter: p.Text("query_filter"), Result: p.Text("result_format"),
		Attributes: p.Words("result_attribute"), Special: p.Words("special_result_attribute"),
		Terminal: p.Words("terminal_result_attribute"), Leaf: p.Words("leaf_result_attribute"),
		BindDN: p.Text("bind_dn"), Password: p.Text("bind_pw"), StartTLS: p.Yes("start_tls"),
		Timeout: p.Seconds("timeout"),
		Limit:   p.Number("expansion_limit", 0, 0), Recursion: p.Number("recursion_limit", 0, 1),
		Dereference: Dereference(p.Number("dereference", 0, 0)),
		Scope:       oneOf(p, "scope", "sub", map[string]Scope{"sub": Subtree, "base": Base, "one": OneLevel}),
		Bind: oneOf(p, "bind", "yes", map[string]Bind{
			"yes": Simple, "simple": Simple, "1": Simple, "no": NoBind, "none": NoBind, "0": NoBind, "sasl": External,
		}),
	}
	if c.SizeLimit = p.Number("size_limit", c.Limit, 0); c.SizeLimit == 0 {
		c.SizeLimit = -1
	}
	if c.Result == "" {
		c.Result = p.Text("result_filter")
	}
	if !p.Has("result_attribute") {
		c.Attributes = nil
	}
	if !p.Has("search_base") {
		p.Note(errors.New("no search_base"))
	}
	refuse(p, c)
	port := p.Number("server_port", 389, 1)
	for _, host := range p.Words("server_host") {
		c.Servers = append(c.Servers, hostURL(host, port))
	}
	if c.Servers == nil {
		c.Servers = []string{hostURL("localhost", port)}
	}
	if err := readTLS(p, c); err != nil {
		p.Note(err)
	}
	return c
}

// refuse refuses what would be done otherwise than the file says.
func refuse(p *lookup.Params, c *Config) {
	if v := p.Number("version", 3, 2); v > 3 {
		p.Reject("version")
	}
	if p.Yes("chase_referrals") {
		p.Note(errors.New("chase_referrals = yes is not known here: name the servers"))
	}
	if c.Bind != External {
		return
	}
	if !strings.EqualFold(strings.Join(p.Words("sasl_mechs"), " "), "EXTERNAL") {
		p.Note(fmt.Errorf("sasl_mechs %q: only EXTERNAL is known here", p.Text("sasl_mechs")))
	}
	if p.Text("sasl_authz_id") != "" || p.Number("sasl_minssf", 0, 0) != 0 {
		p.Note(errors.New("sasl_authz_id and sasl_minssf are not known here"))
	}
}

// hostURL makes a URL of a host as server_host has it: a URL, "host" or
// "host:port".
func hostURL(host string, port int) string {
	if strings.Contains(host, "://") {
		return host
	}
	if strings.Contains(host, ":") {
		return "ldap://" + host
	}
	return "ldap://" + host + ":" + strconv.Itoa(port)
}

var certificates = certfile.Names{CAFile: "tls_ca_cert_file", CADir: "tls_ca_cert_dir", Cert: "tls_cert", Key: "tls_key"}

// readTLS reads the parameters of TLS.
func readTLS(p *lookup.Params, c *Config) (err error) {
	verify := p.Yes("tls_require_cert")
	if c.TLS, err = certificates.Read(p.Text); err != nil {
		return err
	}
	// no is what Postfix does when the file says nothing: see the package's page.
	c.TLS.InsecureSkipVerify = !verify
	return nil
}
