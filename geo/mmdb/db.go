// Package mmdb reads geolocation databases in MaxMind's DB format: MaxMind's own, DB-IP, IPinfo, ip-location-db.
//
// A database is read into memory whole. Mapping the file would be cheaper, but a mapped file that somebody cuts short kills the
// process with SIGBUS, and no Go code can catch that.
//
// Start with Open, which says what a usable database is. Reader is a database that is replaced while it is in use.
package mmdb

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"github.com/oschwald/geoip2-golang/v2"
	"github.com/oschwald/maxminddb-golang/v2"

	"proxima/geo"
)

// MaxBytes is the size of the largest database that is read. The largest on the market (City with every language, both
// families) have about a sixth of it.
const MaxBytes = 1 << 30

// DB is one edition of a geolocation database, in memory. It never changes, and any number of goroutines may use it.
type DB struct {
	name   string
	file   os.FileInfo       // the file it was read from; nil when it came as bytes
	sum    [sha256.Size]byte // of that file's content
	tree   *maxminddb.Reader
	locate func(netip.Addr) (geo.Location, netip.Prefix, error)
}

// Open reads the database at path and checks every record of it, which takes some seconds for 60 MB. What it returns can be
// relied on to answer; what it refuses it refuses with an error that says what to do about it.
func Open(path string) (*DB, error) {
	content, file, err := read(path)
	if err != nil {
		return nil, err
	}
	return fromFile(path, content, file)
}

func fromFile(path string, content []byte, file os.FileInfo) (*DB, error) {
	db, err := FromBytes(path, content)
	if err != nil {
		return nil, err
	}
	if err := db.Verify(); err != nil {
		return nil, err
	}
	db.file, db.sum = file, sha256.Sum256(content)
	return db, nil
}

// FromBytes is the database in content, which must not change afterwards. The name appears in errors. It looks at the metadata
// and the first records only, which takes no time worth mentioning: for content that has been checked before, such as an
// embedded database. A record that turns out to be broken later is an error of Locate.
func FromBytes(name string, content []byte) (*DB, error) {
	db := &DB{name: name}
	if err := db.open(content); err != nil {
		return nil, fmt.Errorf("geo database %q: %w", name, err)
	}
	return db, nil
}

// Locate says where the address is, as far as the database knows, and a network for which the answer is the same. An address
// that the database has nothing on is the zero Location and no error; an error means that the record is broken.
func (db *DB) Locate(addr netip.Addr) (geo.Location, netip.Prefix, error) {
	place, network, err := db.find(addr.Unmap().WithZone(""))
	if err != nil {
		return geo.Location{}, netip.Prefix{}, fmt.Errorf("geo database %q: %w", db.name, err)
	}
	return place, network, nil
}

func (db *DB) find(addr netip.Addr) (place geo.Location, network netip.Prefix, err error) {
	defer func() {
		if broken := recover(); broken != nil {
			err = fmt.Errorf("record of %v is broken: %v", addr, broken)
		}
	}()
	if !addr.IsValid() {
		return geo.Location{}, netip.Prefix{}, nil
	}
	if addr.Is6() && db.tree.Metadata.IPVersion == 4 {
		return geo.Location{}, everyIPv6, nil
	}
	place, network, err = db.locate(addr)
	if err != nil {
		return geo.Location{}, netip.Prefix{}, fmt.Errorf("record of %v is broken: %w", addr, err)
	}
	if addr.Is4() && network.Addr().Is6() {
		network = everyIPv4 // the tree ends before the IPv4 networks begin: it has none
	}
	if !place.Placed && place.Country == "" {
		return geo.Location{}, network, nil
	}
	place.Source = geo.SourceDatabase
	return place, network, nil
}

var (
	everyIPv4 = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	everyIPv6 = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
)

// Name is the path the database was opened with, or the name it was given.
func (db *DB) Name() string { return db.name }

// Type is the type the database claims, such as GeoLite2-City.
func (db *DB) Type() string { return db.tree.Metadata.DatabaseType }

// Built is when the publisher built the database.
func (db *DB) Built() time.Time { return db.tree.Metadata.BuildTime().UTC() }

// read returns what is in the file, and which file it was.
func read(path string) ([]byte, os.FileInfo, error) {
	content, file, err := readRegular(path)
	if err != nil {
		return nil, nil, fmt.Errorf("geo database %q: %w", path, err)
	}
	return content, file, nil
}

func readRegular(path string) ([]byte, os.FileInfo, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, nil, errNoFile
	case err != nil:
		return nil, nil, err
	case !info.Mode().IsRegular(): // before opening it: opening a pipe blocks
		return nil, nil, errNotAFile
	case info.Size() > MaxBytes:
		return nil, nil, tooLarge(info.Size())
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	if info, err = file.Stat(); err != nil {
		return nil, nil, err
	}
	content := bytes.NewBuffer(make([]byte, 0, info.Size()+bytes.MinRead))
	size, err := content.ReadFrom(io.LimitReader(file, MaxBytes+1)) // the file may grow meanwhile
	if err != nil {
		return nil, nil, err
	}
	if size > MaxBytes {
		return nil, nil, tooLarge(size)
	}
	return content.Bytes(), info, nil
}

var (
	errNoFile   = errors.New(`no such file: give the path of an .mmdb file, or "embedded"`)
	errNotAFile = errors.New(`not a regular file: give the path of an .mmdb file, or "embedded"`)
)

func tooLarge(size int64) error {
	return fmt.Errorf("%d bytes are over the limit of %d (1 GiB): use an edition with fewer fields, such as City", size, MaxBytes)
}

// open finds the reader for the type of the database: geoip2's for what it accepts, this package's own for the rest.
func (db *DB) open(content []byte) (err error) {
	defer func() {
		if broken := recover(); broken != nil {
			err = fmt.Errorf("broken: %v: fetch it again", broken)
		}
	}()
	if bytes.HasPrefix(content, []byte{0x1f, 0x8b}) {
		return errors.New("compressed: unpack it first, with gunzip or tar -xzf")
	}
	if db.tree, err = maxminddb.OpenBytes(content); err != nil {
		return fmt.Errorf("not a MaxMind DB, or cut short: %w: fetch it again", err)
	}
	if db.locate, err = reader(db.tree, content); err != nil {
		return err
	}
	return db.sample()
}

func reader(tree *maxminddb.Reader, content []byte) (func(netip.Addr) (geo.Location, netip.Prefix, error), error) {
	known, err := geoip2.OpenBytes(content)
	if unknown := (geoip2.UnknownDatabaseTypeError{}); errors.As(err, &unknown) {
		return anyReader{tree}.locate, nil
	}
	if err != nil {
		return nil, fmt.Errorf("broken: %w: fetch it again", err)
	}
	_, err = known.City(netip.IPv4Unspecified())
	if other := (geoip2.InvalidMethodError{}); errors.As(err, &other) {
		return nil, noLocations(other.DatabaseType)
	}
	return geoip2Reader{known}.locate, nil
}

func noLocations(databaseType string) error {
	return fmt.Errorf("type %q has no locations: use a City or Country database", databaseType)
}
