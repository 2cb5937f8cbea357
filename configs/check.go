package configs

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"regexp"
	"slices"

	"proxima/geo"
)

// checker holds values against each other and against the world; what a value may
// be for itself was checked when it was read. A value that was refused then is
// left alone here, so that one mistake has one message.
type checker struct {
	*report
	*Config
	regions map[string]*Region // those of the file, by name
}

func (c *checker) check() {
	c.regions = map[string]*Region{}
	for i := range c.Regions {
		c.regions[c.Regions[i].Name] = &c.Regions[i]
	}
	c.checkListeners()
	c.checkTLS()
	c.checkLimits()
	c.checkMemory()
	c.checkDatabase()
	c.checkPlaces()
	for i := range c.Regions {
		c.checkRegion(&c.Regions[i])
	}
	endpoints := c.root.in("endpoints")
	for i := range c.Endpoints {
		c.checkEndpoint(&c.Endpoints[i], endpoints.at(i))
	}
	c.checkIdentities(endpoints)
	c.checkModels()
	c.checkHealth()
	c.checkResidency()
	c.checkAdmission()
	c.checkFailover()
}

func (c *checker) checkListeners() {
	admin := c.root.in("admin")
	listen, file := admin.in("listen"), admin.in("token_file")
	switch {
	case c.Admin.TokenFile != "":
		if _, err := c.Admin.Token(); err != nil {
			c.add(file, err.Error(), "head -c 32 /dev/urandom | base64 makes a good token")
		}
	case !c.Admin.Listen.loopback() && !c.blamed[file.path]:
		c.add(listen, "needs admin.token_file, because others than this machine can connect",
			"write token_file: admin.token, or listen on 127.0.0.1:9090")
	}
	if c.Listen != c.Admin.Listen || c.Listen.anyPort() {
		return
	}
	if listen.node == nil {
		c.add(c.root.in("listen"), "is the address of operators, admin.listen", "give clients another port, such as 8080")
		return
	}
	c.add(listen, "is the address of clients, listen", "give operators another port, such as 9090")
}

func (c *checker) checkLimits() {
	l, s := c.Limits, c.root.in("limits")
	if l.ConnectionsPerAddress > l.Connections && l.Connections > 0 && c.clean(s, "connections", "connections_per_address") {
		c.add(s.in("connections_per_address"), "must not be more than connections", "0 is a quarter of them")
	}
}

// checkMemory wants room for one body that is kept, at least.
func (c *checker) checkMemory() {
	limits, failover := c.root.in("limits"), c.root.in("failover")
	if c.Limits.BodyMemory < c.Failover.ReplayLimit && c.clean(limits, "body_memory") && c.clean(failover, "replay_limit") {
		c.add(limits.in("body_memory"), "must not be less than failover.replay_limit, the size of one body that is kept",
			"write "+c.Failover.ReplayLimit.String()+" or more")
	}
}

func (c *checker) checkDatabase() {
	if c.Geo.Database == Embedded {
		return
	}
	database := c.root.in("geo").in("database")
	info, err := os.Stat(string(c.Geo.Database))
	switch {
	case c.Geo.Database == "":
		c.add(database, "must name a database", "write embedded for the one that comes with the program")
	case err != nil:
		c.add(database, reason(err), "write embedded, or the path of an .mmdb file")
	case !info.Mode().IsRegular():
		c.add(database, errNotRegular.Error(), "write embedded, or the path of an .mmdb file")
	}
}

// checkPlaces checks the overrides and the default.
func (c *checker) checkPlaces() {
	overrides := c.root.in("geo").in("overrides")
	first := map[netip.Prefix]int{}
	for i, o := range c.Geo.Overrides {
		at := overrides.at(i)
		c.checkPlace(at, o.Place)
		if o.Place == (Place{}) && !c.blamed[at.path] && c.clean(at, "region", "lat", "lon", "country") {
			c.add(at, "gives no place", "write region, or country, or lat and lon")
		}
		if earlier, twice := first[o.CIDR.Prefix]; twice && o.CIDR.IsValid() {
			c.add(at.in("cidr"), fmt.Sprintf("is the same network as in %s[%d]", overrides.path, earlier), "keep one of them")
		} else {
			first[o.CIDR.Prefix] = i
		}
	}
	c.checkPlace(c.root.in("geo").in("default"), c.Geo.Default)
}

func (c *checker) checkPlace(s spot, p Place) {
	if p.Region == "" {
		c.checkCoordinates(s, p.Lat, p.Lon)
		c.checkCountry(s.in("country"), p.Country)
		return
	}
	if p.Lat != nil || p.Lon != nil || p.Country != "" {
		c.add(s, "has both a region and coordinates or a country", "keep region, or lat, lon and country")
	}
	if _, known := geo.KnownRegion(p.Region); !known && c.regions[p.Region] == nil {
		c.add(s.in("region"), "is neither a region of this file nor a known cloud region",
			c.didYouMean(p.Region, append(c.regionNames(), knownNames()...)))
	}
}

// checkCoordinates wants both or neither.
func (c *checker) checkCoordinates(s spot, lat, lon *float64) {
	if !c.clean(s, "lat", "lon") {
		return
	}
	switch {
	case lat != nil && lon == nil:
		c.add(s.in("lon"), "is missing", "lat needs lon")
	case lat == nil && lon != nil:
		c.add(s.in("lat"), "is missing", "lon needs lat")
	}
}

// centreless are the countries that exist but have no addresses to speak of.
var centreless = []Country{"CX", "EH", "TF"}

// checkCountry wants a country that exists, because no client would ever come
// from another one.
func (c *checker) checkCountry(s spot, country Country) {
	_, exists := geo.CountryCentre(string(country))
	if country == "" || exists || slices.Contains(centreless, country) {
		return
	}
	hint := "look it up in ISO 3166-1 alpha-2"
	if country == "UK" {
		hint = "write GB"
	}
	c.add(s, "is not the code of a country", hint)
}

// clean reports whether none of these options had a problem.
func (c *checker) clean(s spot, names ...string) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return c.blamed[join(s.path, name)] })
}

var regionForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

func (c *checker) checkRegion(r *Region) {
	s := c.root.in("regions").in(r.Name)
	_, known := geo.KnownRegion(r.Name)
	switch {
	case !regionForm.MatchString(r.Name):
		c.add(s.named(), "a region's name must be 1 to 64 letters, digits or any of . _ -, a letter or digit first", "")
	case known && (r.Lat != nil || r.Lon != nil || r.Country != ""):
		c.add(s, "is a known cloud region, which brings its place",
			"remove lat, lon and country, or give the region another name")
	case !known && r.Lat == nil && r.Lon == nil && c.clean(s, "lat", "lon") && !c.blamed[s.path]:
		hint, near := nearest(r.Name, knownNames())
		if hint = "did you mean " + hint + "?"; !near {
			hint = "write {lat: 52.52, lon: 13.40, country: DE}"
		}
		c.add(s.named(), "is not a known AWS, GCP or Azure region, so it needs lat and lon", hint)
	case !known:
		c.checkCoordinates(s, r.Lat, r.Lon)
		c.checkCountry(s.in("country"), r.Country)
	}
}

func (c *checker) checkEndpoint(e *Endpoint, s spot) {
	if c.regions[e.Region] == nil && c.clean(s, "region") {
		hint := c.didYouMean(e.Region, c.regionNames())
		if _, known := geo.KnownRegion(e.Region); known {
			hint = "add " + e.Region + ": {} to regions"
		}
		c.add(s.in("region"), "is not a region of this file", hint)
	}
	first := map[Model]int{}
	for i, m := range e.Models {
		if earlier, twice := first[m]; twice && m != "" {
			c.add(s.in("models").at(i), fmt.Sprintf("is the same model as in models[%d]", earlier), "keep one of them")
			continue
		}
		first[m] = i
	}
}

// checkIdentities wants every endpoint to have a name of its own.
func (c *checker) checkIdentities(endpoints spot) {
	first := map[string]int{}
	for i := range c.Endpoints {
		id, s := string(c.Endpoints[i].Identity()), endpoints.at(i)
		if id == "" || !c.clean(s, "id", "url", "region") {
			continue
		}
		earlier, twice := first[id]
		switch {
		case twice && c.Endpoints[i].ID != "":
			c.add(s.in("id"), fmt.Sprintf("is the id of endpoints[%d] too", earlier), "give each endpoint an id of its own")
		case twice:
			c.add(s, fmt.Sprintf("has the id of endpoints[%d]: both are made of region and url", earlier),
				"give one of them an id, or remove it")
		case len(id) > 128:
			c.add(s, "its id, made of region and url, is longer than 128 bytes", "give it a shorter id")
		default:
			first[id] = i
		}
	}
}

// maxModels bounds what is kept, counted and labelled for each model.
const maxModels = 4096

func (c *checker) checkModels() {
	distinct := map[Model]bool{}
	for i, e := range c.Endpoints {
		for _, m := range e.Models {
			distinct[m] = true
		}
		if len(distinct) > maxModels {
			c.add(c.root.in("endpoints").at(i).in("models").named(),
				fmt.Sprintf("brings the number of different models over the limit of %s", count(maxModels)), "")
			return
		}
	}
}

func (c *checker) checkHealth() {
	passive := c.root.in("health").in("passive")
	if c.Health.Passive.Eject > c.Health.Passive.EjectMax && c.clean(passive, "eject", "eject_max") {
		c.add(passive.in("eject"), "must not be longer than eject_max", "")
	}
}

func (c *checker) checkResidency() {
	rules := c.root.in("steering").in("residency")
	first := map[ID]int{}
	left := map[Country]map[string]bool{} // where each country's clients may still go
	for i, rule := range c.Steering.Residency {
		s := rules.at(i)
		if earlier, twice := first[rule.Name]; twice && rule.Name != "" {
			c.add(s.in("name"), fmt.Sprintf("is the name of %s[%d] too", rules.path, earlier), "give each rule a name of its own")
		} else {
			first[rule.Name] = i
		}
		for j, region := range rule.Regions {
			if at := s.in("regions").at(j); c.regions[region] == nil && !c.blamed[at.path] {
				c.add(at, "is not a region of this file", c.didYouMean(region, c.regionNames()))
			}
		}
		for j, country := range rule.Countries {
			c.checkCountry(s.in("countries").at(j), country)
			c.narrow(left, country, rule.Regions, s.in("countries").at(j))
		}
	}
}

// narrow keeps what a further rule leaves to a country, which must not be nothing.
func (c *checker) narrow(left map[Country]map[string]bool, country Country, regions []string, s spot) {
	before, ruled := left[country]
	now := map[string]bool{}
	for _, region := range regions {
		if !ruled || before[region] {
			now[region] = true
		}
	}
	left[country] = now
	if country != "" && len(now) == 0 && len(before) > 0 && len(regions) > 0 {
		c.add(s, "no region is left to this country: the rules before this one leave it others", "name a region that they share")
	}
}

func (c *checker) checkAdmission() {
	keys := c.root.in("admission").in("keys")
	first := map[Secret]int{}
	for i, k := range c.Admission.Keys {
		if earlier, twice := first[k.Key]; twice && k.Key != "" {
			c.add(keys.at(i).in("key"), fmt.Sprintf("is the same key as in %s[%d]", keys.path, earlier), "")
			continue
		}
		first[k.Key] = i
	}
}

// checkFailover wants the comments that the file asks for to come before a silent
// stream is given up. The default of keep_alive does no harm when they do not.
func (c *checker) checkFailover() {
	s := c.root.in("failover")
	keepAlive := s.in("keep_alive")
	if c.Failover.StallTimeout > 0 && c.Failover.KeepAlive > c.Failover.StallTimeout &&
		keepAlive.node != nil && c.clean(s, "keep_alive", "stall_timeout") {
		c.add(keepAlive, "is longer than stall_timeout, so that no comment would ever be sent",
			fmt.Sprintf("write less than %s, or 0s for no comments", c.Failover.StallTimeout))
	}
	c.checkRules(s.in("models"))
}

// checkRules wants the models with rules of their own to be ones that are served.
func (c *checker) checkRules(models spot) {
	served := c.servedModels()
	seen := map[string]bool{noName: true}
	for name, s := range models.entries() {
		_, known := slices.BinarySearch(served, name)
		bad := new(wrong)
		switch {
		case seen[name]:
		case errors.As(new(Model).parse(name), &bad):
			c.add(s.named(), "a model's name "+bad.what, "")
		case served != nil && !known:
			c.add(s.named(), "is not a model of any endpoint", c.didYouMean(name, served))
		}
		seen[name] = true
	}
}

// servedModels lists the models of all endpoints, sorted; nil when an endpoint
// serves every model, or when its models could not be read.
func (c *checker) servedModels() []string {
	endpoints := c.root.in("endpoints")
	all := map[string]bool{}
	for i, e := range c.Endpoints {
		if len(e.Models) == 0 || slices.Contains(e.Models, "") || !c.clean(endpoints.at(i), "models") {
			return nil
		}
		for _, m := range e.Models {
			all[string(m)] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// regionNames lists the regions of the file that have a name to suggest.
func (c *checker) regionNames() []string {
	var all []string
	for _, r := range c.Regions {
		if regionForm.MatchString(r.Name) {
			all = append(all, r.Name)
		}
	}
	return all
}

func knownNames() []string {
	all := map[string]bool{}
	for _, known := range geo.KnownRegions() {
		all[known.Name] = true
	}
	return slices.Sorted(maps.Keys(all))
}
