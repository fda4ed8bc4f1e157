package lookup

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Config is what a Postfix file of mysql_table(5), pgsql_table(5) or
// sqlite_table(5) says: mysql:/etc/postfix/virtual.cf. The caller opens the
// database with it, since no driver is part of this package, and then makes a
// table of it with SQL.
type Config struct {
	File           string // where it was read
	User, Password string // "" means that the file has none
	DBName         string // "" means that the file has none
	DBPath         string // of sqlite; "" means that the file has none
	Hosts          []Host // in the order of the file; never empty
	Query          string // also when the file has select_field, table and where_field in its place
	ResultFormat   string // "" means "%s"
	Domains        []string
	ExpansionLimit int // 0 means none
	// NoResultSet is what require_result_set = no says; see SQLQuery.
	NoResultSet bool
	// RetryInterval and IdleInterval are what SQLHosts has as Retry and Idle. 0
	// means that the file has none.
	RetryInterval, IdleInterval time.Duration
	// Params are all the parameters by their names, for what has no field here,
	// such as "charset". See TLS and Check.
	Params map[string]string
}

// Host is where a database listens.
type Host struct {
	Network string // "tcp", "unix", or "uri" for a connection URI of PostgreSQL
	// Address is a host name or an address, or the path of a socket. "" with
	// "unix" means the socket that the driver takes when it is told none, which
	// is also what "localhost" and no hosts at all mean in these files. With
	// "uri" it is the whole of it, which may hold a password.
	Address string
	Port    string // "" means the database's usual one
}

// String returns the host as it is written in these files, without what a URI
// has that is not for logs.
func (h Host) String() string {
	switch {
	case h.Network == "uri":
		u, err := url.Parse(h.Address)
		if err != nil {
			return "uri"
		}
		return u.Scheme + "://" + u.Host + u.Path
	case h.Network == "unix" && h.Address == "":
		return "localhost"
	case h.Network == "unix":
		return "unix:" + h.Address
	case h.Port == "":
		return "inet:" + h.Address
	}
	return "inet:" + net.JoinHostPort(h.Address, h.Port)
}

// Endpoint returns the network and the address that a driver wants: "unix" and
// a path, "tcp" and "host:port", or "uri" and what is connected to with that.
// socket and port are the database's usual ones, which stand in where the file
// has none.
func (h Host) Endpoint(socket, port string) (network, address string) {
	switch {
	case h.Network == "uri":
		return h.Network, h.Address
	case h.Network == "unix" && h.Address == "":
		return h.Network, socket
	case h.Network == "unix":
		return h.Network, h.Address
	case h.Port != "":
		port = h.Port
	}
	return "tcp", net.JoinHostPort(h.Address, port)
}

// ReadConfig reads a file. See ParseConfig.
func ReadConfig(path string) (*Config, error) {
	text, _, err := readText(path)
	if err != nil {
		return nil, err
	}
	return ParseConfig(path, text)
}

// ParseConfig reads the text of a file; file is its name in errors. Unlike a
// table such a file is no good when one of its lines is none: the error is all
// of them together.
func ParseConfig(file, text string) (*Config, error) {
	params, err := parseParams(file, text)
	if err != nil {
		return nil, err
	}
	c := &Config{
		File: file, User: params["user"], Password: params["password"],
		DBName: params["dbname"], DBPath: params["dbpath"], ResultFormat: params["result_format"],
		Domains: listWords(params["domain"]), Params: params,
	}
	p := &Params{values: params}
	c.ExpansionLimit = p.Number("expansion_limit", 0, 0)
	c.RetryInterval, c.IdleInterval = p.Seconds("retry_interval"), p.Seconds("idle_interval")
	switch strings.ToLower(params["require_result_set"]) {
	case "", "yes":
	case "no":
		c.NoResultSet = true
	default:
		p.Reject("require_result_set")
	}
	if err := p.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if c.Hosts, err = parseHosts(params["hosts"]); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if c.Query, err = configQuery(params); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return c, nil
}

// parseParams reads "name = value" lines. The last of two with the same name
// counts.
func parseParams(file, text string) (map[string]string, error) {
	params := map[string]string{}
	var bad []error
	for line, err := range Lines(file, text) {
		if err != nil {
			bad = append(bad, err)
			continue
		}
		name, value, ok := strings.Cut(line.Text, "=")
		name = strings.Trim(name, space)
		if !ok || name == "" || strings.ContainsAny(name, space) {
			bad = append(bad, &LineError{file, line.Number, `expected "name = value"`})
			continue
		}
		params[name] = strings.Trim(value, space)
	}
	return params, errors.Join(bad...)
}

// listWords parts a list at commas and white space.
func listWords(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || strings.ContainsRune(space, r) })
}

func parseHosts(s string) ([]Host, error) {
	var hosts []Host
	for _, word := range listWords(s) {
		h, err := parseHost(word)
		if err != nil {
			return nil, err
		}
		hosts = append(hosts, h)
	}
	if hosts == nil {
		hosts = []Host{{Network: "unix"}}
	}
	return hosts, nil
}

// parseHost reads "unix:/path", "inet:host:port", "host", "[2001:db8::1]:3306"
// or "postgresql://user@host/name".
func parseHost(s string) (Host, error) {
	if strings.HasPrefix(s, "postgresql://") || strings.HasPrefix(s, "postgres://") {
		return Host{Network: "uri", Address: s}, nil
	}
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if path == "" {
			return Host{}, fmt.Errorf("bad host %q", s)
		}
		return Host{Network: "unix", Address: path}, nil
	}
	name, port := strings.TrimPrefix(s, "inet:"), ""
	bracketed := strings.HasPrefix(name, "[")
	if i := strings.LastIndexByte(name, ':'); i >= 0 && (strings.Count(name, ":") == 1 || name[:i] != "" && name[i-1] == ']') {
		name, port = name[:i], name[i+1:]
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return Host{}, fmt.Errorf("bad port in host %q", s)
		}
	}
	if bracketed {
		name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	}
	if name == "" {
		return Host{}, fmt.Errorf("bad host %q", s)
	}
	if name == "localhost" && port == "" {
		return Host{Network: "unix"}, nil
	}
	return Host{Network: "tcp", Address: name, Port: port}, nil
}

// configQuery returns the query, or makes it of the parameters that stood in
// its place in old files.
func configQuery(p map[string]string) (string, error) {
	if p["query"] != "" {
		return p["query"], nil
	}
	if f := p["select_function"]; f != "" {
		return "SELECT " + f + "('%s')", nil
	}
	for _, name := range []string{"table", "select_field", "where_field"} {
		if p[name] == "" {
			return "", fmt.Errorf("neither query nor %s", name)
		}
	}
	q := "SELECT " + p["select_field"] + " FROM " + p["table"] + " WHERE " + p["where_field"] + " = '%s'"
	if more := p["additional_conditions"]; more != "" {
		q += " " + more
	}
	return q, nil
}

// Check returns an error that names what the file asks of the connection and would
// not get, so that a table is not opened without it. Of mysql_table(5) these are
// what TLS does not do, option_file and option_group unless they are empty, and a
// charset other than utf8mb4, which is also what is meant by none, utf8, utf8mb3
// and latin1: whoever opens the database tells it Params["charset"]. Of
// pgsql_table(5) it is an encoding other than UTF8.
func (c *Config) Check(d Dialect) error {
	p := &Params{values: c.Params}
	switch d {
	case MySQL:
		for _, name := range []string{"option_file", "option_group"} {
			if p.Text(name) != "" {
				p.Note(fmt.Errorf("%s %q: files of MySQL's options are not read here", name, p.Text(name)))
			}
		}
		oneOfWords(p, "charset", "", "utf8mb4", "utf8mb3", "utf8", "latin1")
		if _, err := c.tls(Host{}); err != nil {
			p.Note(err)
		}
	case PostgreSQL:
		oneOfWords(p, "encoding", "", "utf8", "utf-8", "unicode")
	}
	if err := p.Err(); err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	return nil
}

// oneOfWords rejects a parameter that is none of the words, in any case.
func oneOfWords(p *Params, name string, words ...string) {
	if !slices.Contains(words, strings.ToLower(p.Text(name))) {
		p.Reject(name)
	}
}

// Preferred returns the first socket among the hosts, or else the first host.
func (c *Config) Preferred() Host {
	for _, h := range c.Hosts {
		if h.Network == "unix" {
			return h
		}
	}
	return c.Hosts[0]
}

// SQL makes a table of the file's query and the database that the caller has
// opened. Domains that name tables or files ("hash:/etc/postfix/domains") are an
// error here: give what DomainTable makes of them to NewSQL.
func (c *Config) SQL(db Querier, d Dialect) (*SQL, error) {
	q := c.SQLQuery(d)
	domains, err := c.DomainTable(nil)
	if err != nil {
		return nil, err
	}
	q.Domains = domains
	t, err := NewSQL(db, q)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.File, err)
	}
	return t, nil
}

// SQLQuery returns what NewSQL wants, without Domains.
func (c *Config) SQLQuery(d Dialect) SQLQuery {
	return SQLQuery{Query: c.Query, Result: c.ResultFormat, Limit: c.ExpansionLimit, NoResultSet: c.NoResultSet, Dialect: d}
}

// SQLHosts returns the file's hosts as one database. open opens that of one
// host with a driver of the caller's choice. To PostgreSQL "localhost" is a name
// like any other, and no socket.
func (c *Config) SQLHosts(d Dialect, open func(ctx context.Context, h Host) (*sql.DB, error)) *SQLHosts {
	hosts := slices.Clone(c.Hosts)
	for i, word := range listWords(c.Params["hosts"]) {
		if d == PostgreSQL && strings.TrimPrefix(word, "inet:") == "localhost" && i < len(hosts) {
			hosts[i] = Host{Network: "tcp", Address: "localhost"}
		}
	}
	return &SQLHosts{Hosts: hosts, Open: open, Retry: c.RetryInterval, Idle: c.IdleInterval}
}

// DomainTable returns the table that the file's domains are, or nil if it has
// none. open opens those that are tables, "hash:/etc/postfix/domains", or files
// with lists of domains, "/etc/postfix/domains"; nil means that they are errors.
func (c *Config) DomainTable(open func(reference string) (LookupTable, error)) (LookupTable, error) {
	t, err := domainTable(c.Domains, open)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.File, err)
	}
	return t, nil
}

func domainTable(words []string, open func(reference string) (LookupTable, error)) (LookupTable, error) {
	if len(words) == 0 {
		return nil, nil
	}
	return domainList{}.with(words, open)
}

// InDomains reports whether key is an address in one of the domains, which is what
// the parameter domain asks for: "user" and "@example.org" are not. nil domains have
// every key.
func InDomains(ctx context.Context, domains LookupTable, key string) (bool, error) {
	if domains == nil {
		return true, nil
	}
	k := newSubject(key)
	if !k.qualified || k.user == "" || k.domain == "" {
		return false, nil
	}
	_, ok, err := domains.Lookup(ctx, k.domain)
	return ok, err
}

// String returns the file's name: a password is not for logs.
func (c *Config) String() string { return "config " + strconv.Quote(c.File) }

// domainList is a list of domains as match lists are written: the first item
// that knows a domain decides.
type domainList []domainPattern

// domainPattern is a domain, or a table of domains.
type domainPattern struct {
	except bool // "!": who it knows is none of the list's
	table  LookupTable
}

// domainNames are names that stand in the list itself.
type domainNames struct{ Inline }

// with returns the list with more items. Names beside each other are one table, since
// there may be very many.
func (l domainList) with(words []string, open func(reference string) (LookupTable, error)) (domainList, error) {
	for _, text := range words {
		p, err := parseDomainPattern(text, open)
		if err != nil {
			return nil, err
		}
		if !l.takes(p) {
			l = append(l, p)
		}
	}
	return l, nil
}

// takes puts a name into the last item, if that holds names of the same kind.
func (l domainList) takes(p domainPattern) bool {
	name, ok := p.table.(domainNames)
	if !ok || len(l) == 0 || l[len(l)-1].except != p.except {
		return false
	}
	names, ok := l[len(l)-1].table.(domainNames)
	if ok {
		maps.Copy(names.Inline, name.Inline)
	}
	return ok
}

// parseDomainPattern reads "example.org", "!example.org", "hash:/path" or
// "/path".
func parseDomainPattern(text string, open func(string) (LookupTable, error)) (domainPattern, error) {
	except, name := negation(text)
	p := domainPattern{except: except}
	switch {
	case name == "":
		return p, fmt.Errorf("domain %q is no domain name", text)
	case !strings.ContainsAny(name, ":/"):
		p.table = domainNames{Inline{Fold(name): "OK"}}
		return p, nil
	case open == nil:
		return p, fmt.Errorf("domain %q is no domain name", text)
	}
	table, err := open(name)
	if err != nil {
		return p, fmt.Errorf("domain %q: %w", text, err)
	}
	p.table = table
	return p, nil
}

// Lookup finds the domains of the list.
func (l domainList) Lookup(ctx context.Context, domain string) (value string, ok bool, err error) {
	for _, p := range l {
		value, ok, err = p.table.Lookup(ctx, domain)
		if err != nil || ok && p.except {
			return "", false, err
		}
		if ok {
			return value, true, nil
		}
	}
	return "", false, nil
}
