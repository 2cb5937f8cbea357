package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/spf13/cobra"

	"proxima/configs"
	"proxima/geo"
	"proxima/geo/world"
)

func (a *app) geoCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "geo",
		Short: "Ask where addresses are",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.geoLookupCommand())
	return cmd
}

func (a *app) geoLookupCommand() *cobra.Command {
	var file, database string
	var out format
	cmd := &cobra.Command{
		Use:   "lookup IP...",
		Short: "Say where an address is, from which source, how accurate, and which regions are near",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("which address? proxima geo lookup 203.0.113.7")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			where, err := a.placesFor(file, database)
			if err != nil {
				return err
			}
			var found []lookup
			for _, arg := range args {
				address, err := netip.ParseAddr(arg)
				if err != nil {
					return usage("%q is not an IP address", arg)
				}
				found = append(found, where.lookup(address))
			}
			return a.printLookups(found, out)
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "a configuration whose database, overrides and regions are used")
	cmd.Flags().StringVar(&database, "database", "", "an .mmdb file to ask instead of the embedded one")
	out.flag(cmd)
	return cmd
}

// lookup is what is known of an address.
type lookup struct {
	Address    string   `json:"address"`
	Placed     bool     `json:"placed"`
	Country    string   `json:"country"`
	City       string   `json:"city,omitempty"`
	Lat        float64  `json:"lat"`
	Lon        float64  `json:"lon"`
	AccuracyKm float64  `json:"accuracy_km"`
	Source     string   `json:"source"`
	Database   string   `json:"database"`
	Nearest    []nearby `json:"nearest"`
}

// nearby is a region and how far it is by the great circle.
type nearby struct {
	Region string  `json:"region"`
	Km     float64 `json:"km"`
}

// atlas is places, with the regions that an operator may choose from.
type atlas struct {
	*places
	regions map[string]geo.Location
}

// placesFor uses the configuration's regions, or all known ones without one.
func (a *app) placesFor(file, database string) (*atlas, error) {
	config := &configs.Config{}
	config.Geo.Database = configs.Embedded
	found := &atlas{regions: map[string]geo.Location{}}
	for _, region := range geo.KnownRegions() {
		found.regions[region.Name] = region.Place
	}
	if file != "" {
		loaded, err := configs.Load(file, a.env)
		if err != nil {
			return nil, &exit{exitConfig, err}
		}
		table, err := loaded.Table()
		if err != nil {
			return nil, err
		}
		config = loaded
		clear(found.regions)
		for _, region := range table.Regions {
			found.regions[string(region.ID)] = region.Place
		}
	}
	if database != "" {
		config.Geo.Database = configs.File(database)
	}
	var err error
	found.places, err = openPlaces(config)
	return found, err
}

const nearestShown = 3

func (where *atlas) lookup(address netip.Addr) lookup {
	at := where.Locate(address)
	found := lookup{
		Address: address.String(), Placed: at.Placed, Country: at.Country, City: at.City,
		Lat: at.Lat, Lon: at.Lon, AccuracyKm: at.AccuracyKm, Source: string(at.Source),
		Database: where.describe(), Nearest: []nearby{},
	}
	if !at.Placed {
		return found
	}
	for name, place := range where.regions {
		found.Nearest = append(found.Nearest, nearby{name, geo.Km(at, place)})
	}
	slices.SortFunc(found.Nearest, func(a, b nearby) int {
		return cmp.Or(cmp.Compare(a.Km, b.Km), cmp.Compare(a.Region, b.Region))
	})
	found.Nearest = found.Nearest[:min(nearestShown, len(found.Nearest))]
	return found
}

func (a *app) printLookups(found []lookup, out format) error {
	if out == "json" {
		return writeJSON(a.stdout, found)
	}
	t := newTable("address", "country", "place", "within", "source", "nearest regions")
	for _, l := range found {
		place, within := "not placed", ""
		if l.Placed {
			place = fmt.Sprintf("%.1f, %.1f", l.Lat, l.Lon)
		}
		if l.AccuracyKm > 0 {
			within = fmt.Sprintf("%.0f km", l.AccuracyKm)
		}
		near := ""
		for i, n := range l.Nearest {
			if i > 0 {
				near += ", "
			}
			near += fmt.Sprintf("%s %.0f km", n.Region, n.Km)
		}
		t.AppendRow([]any{l.Address, l.Country, place, within, l.Source, near})
	}
	printTable(a.stdout, t)
	fmt.Fprintf(a.stdout, "\ndatabase: %s\n%s, %s\n", found[0].Database, world.Attribution, world.AttributionURL)
	return nil
}
