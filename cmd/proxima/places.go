package main

import (
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"proxima/configs"
	"proxima/geo"
	"proxima/geo/mmdb"
	"proxima/geo/world"
)

// places finds out where clients are. Overrides and the default change with every
// configuration; the database is opened anew only when another one is named, and
// is swapped by itself when its file is replaced.
type places struct {
	current atomic.Pointer[placing]
	changed chan struct{} // current has another database: see Run

	swapped func(*mmdb.DB) // hears of each edition that is put in use
	refused func(error)    // hears why a new edition was not
}

// placing is one way to place clients. It is immutable but for its database.
type placing struct {
	locator  geo.Locator
	path     configs.File
	database *mmdb.Reader
}

// openPlaces opens what a configuration asks for. The functions may be set until
// Run is called.
func openPlaces(c *configs.Config) (*places, error) {
	p := &places{
		changed: make(chan struct{}, 1),
		swapped: func(*mmdb.DB) {}, refused: func(error) {},
	}
	first, err := p.prepare(c)
	if err != nil {
		return nil, err
	}
	p.current.Store(first)
	return p, nil
}

// Locate says where a client is.
func (p *places) Locate(addr netip.Addr) geo.Location { return p.current.Load().locator.Locate(addr) }

// describe names the database in use and its age.
func (p *places) describe() string {
	db := p.current.Load().database.DB()
	return fmt.Sprintf("%s (%s of %s)", db.Name(), db.Type(), db.Built().Format(time.DateOnly))
}

// prepare builds what a configuration asks for, and changes nothing yet.
func (p *places) prepare(c *configs.Config) (*placing, error) {
	next := &placing{path: c.Geo.Database}
	if now := p.current.Load(); now != nil && now.path == next.path {
		next.database = now.database
	} else if err := next.open(p, c.Geo.CacheEntries); err != nil {
		return nil, err
	}
	next.locator = geo.Locator{
		Overrides: c.Overrides(),
		Database:  next.database.Locate,
		Default:   c.DefaultLocation(),
	}
	return next, nil
}

func (next *placing) open(p *places, cacheEntries int) error {
	var db *mmdb.DB
	var err error
	if next.path == configs.Embedded {
		db, err = world.Open()
	} else {
		db, err = mmdb.Open(string(next.path))
	}
	if err != nil {
		return err
	}
	next.database = mmdb.NewReader(db, cacheEntries)
	next.database.Swapped = func(db *mmdb.DB) { p.swapped(db) }
	next.database.Refused = func(err error) { p.refused(err) }
	return nil
}

// adopt puts a prepared placing in use.
func (p *places) adopt(next *placing) {
	if p.current.Swap(next).database == next.database {
		return
	}
	p.swapped(next.database.DB())
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// Run watches the file of the database in use until ctx is done.
func (p *places) Run(ctx context.Context) {
	p.swapped(p.current.Load().database.DB())
	for ctx.Err() == nil {
		watching, stop := context.WithCancel(ctx)
		go func() {
			defer stop()
			select {
			case <-watching.Done():
			case <-p.changed:
			}
		}()
		_ = p.current.Load().database.Run(watching) // always nil
		stop()
	}
}
