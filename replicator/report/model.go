// Package report gathers what can be shown of a copy, for people who have to judge it: auditors, insurers, owners. It reads the vaults
// with a reader's credential, and what reporters left there as evidence, and gives plain data: docs/report.schema.json describes its JSON,
// and package page makes a page of it. A [Seal] vouches for both.
//
// The package must never print, write to a vault, ask for a key that opens anything, or fill in what nobody looked at: what is not known
// is named in [Report.Unknown], with the reason.
package report

// Kind and Schema are what every report begins with. Schema grows when a member changes its meaning; members may be added.
const (
	Kind   = "report"
	Schema = 1
)

// Report is what was found, of all vaults. Times are RFC 3339 in UTC; an empty one is not known or never was, and Unknown says which.
type Report struct {
	Kind     string    `json:"kind"`
	Schema   int       `json:"schema"`
	Verdict  Verdict   `json:"verdict"`
	Identity Identity  `json:"identity"`
	Warnings []Warning `json:"warnings"` // the worst first
	Limits   []string  `json:"limits"`   // what no report of this kind can show
	Unknown  []Unknown `json:"unknown"`  // what this one does not know
	Scope    Scope     `json:"scope"`
	Targets  Targets   `json:"targets"`
	Vaults   []Vault   `json:"vaults"`
}

// Verdict is the worst of what was found.
type Verdict string

// The verdicts.
const (
	Well   Verdict = "well"   // nothing that this report looks at is out of the ordinary
	Alarm  Verdict = "alarm"  // somebody has to look at something
	Failed Verdict = "failed" // a vault could not be looked at
	Short  Verdict = "short"  // a target is missed, protection is short, or evidence is gone
)

// Identity says which report this is and where it comes from.
type Identity struct {
	Number        int       `json:"number"`     // 0: not numbered
	Reporter      string    `json:"reporter"`   // who signs it; empty: nobody
	Unnumbered    string    `json:"unnumbered"` // why it has no number and no record
	Previous      *Previous `json:"previous"`   // the report before by the same reporter; null: there is none, as far as records tell
	MadeAt        string    `json:"made_at"`    // by this machine's clock
	From          string    `json:"from"`       // the period
	To            string    `json:"to"`
	Uncovered     int64     `json:"uncovered"` // seconds between the end of the report before and the beginning of this one
	Program       Program   `json:"program"`
	Command       string    `json:"command"`
	Configuration string    `json:"config_sha256"` // of the file; empty: there is none
	Host          string    `json:"host"`
	User          string    `json:"user"`
}

// Program is what made the report.
type Program struct {
	Name     string `json:"name"`
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Modified bool   `json:"modified"` // the checkout had changes that no revision names
	Format   string `json:"format"`   // of repositories
	Platform string `json:"platform"`
}

// Previous is a report as its record names it.
type Previous struct {
	Number  int    `json:"number"`
	Figures string `json:"figures"` // SHA-256
	Page    string `json:"page"`
	At      string `json:"at"`
	From    string `json:"from"`
	To      string `json:"to"`
}

// Severity is how much a warning weighs.
type Severity string

// Severities, the heaviest first.
const (
	Damage    Severity = "damage"    // lost, unprotected, or a target missed
	Unread    Severity = "unread"    // a vault could not be looked at
	Attention Severity = "attention" // somebody has to look
	Notice    Severity = "notice"    // worth knowing; changes no verdict
)

// Warning is one thing that is out of the ordinary.
type Warning struct {
	Severity Severity `json:"severity"`
	Vault    string   `json:"vault"`
	Source   string   `json:"source"`
	Section  string   `json:"section"` // of the page
	Text     string   `json:"text"`
}

// Unknown is one thing that is not known.
type Unknown struct {
	Section string `json:"section"`
	Vault   string `json:"vault"`
	What    string `json:"what"`
	Why     string `json:"why"`
}

// Scope is what is to be protected.
type Scope struct {
	Sources  []Scoped   `json:"sources"`
	Accepted []Accepted `json:"accepted"` // what the configuration leaves without a source, with the reason
	Coverage *Coverage  `json:"coverage"` // the newest look of the period at the sources' accounts; null: there is no record of one
	Custody  []Custody  `json:"custody"`  // who keeps which key, as the configuration says
}

// Accepted is what needs no source.
type Accepted struct {
	URL    string `json:"url"`
	Reason string `json:"reason"`
}

// Custody is where a key is kept.
type Custody struct {
	Key  string `json:"key"`
	Kept string `json:"kept"`
}

// Coverage is one look at what is in the sources' accounts: buckets, volumes, instances, AMIs, snapshots.
type Coverage struct {
	At          string `json:"at"`
	Reporter    string `json:"reporter"`
	Resources   int    `json:"resources"`
	Protected   int    `json:"protected"`
	Accepted    int    `json:"accepted"`
	Unprotected int    `json:"unprotected"`
	Unseen      int    `json:"unseen"` // accounts, or parts of them, that could not be looked at
}

// Scoped is a source as the configuration has it; without one its name is all there is.
type Scoped struct {
	Name       string            `json:"name"`
	URL        string            `json:"url"`
	Configured bool              `json:"configured"`
	Vaults     []string          `json:"vaults"`
	Exclude    []string          `json:"exclude"`
	Settings   map[string]string `json:"settings"`
	Retention  map[string]string `json:"retention"`
	Credential string            `json:"credential"` // where it lies, never what it is
}

// Targets are what the copy is held against; 0: nothing is declared.
type Targets struct {
	RPO     int64  `json:"rpo_seconds"`
	RTO     int64  `json:"rto_seconds"`
	Allowed int64  `json:"allowed_gap_seconds"` // longer between two complete points is told as a gap: the RPO, else what the schedule lets it become
	Basis   string `json:"allowed_gap_basis"`   // targets.rpo, schedule, default
	Records string `json:"records_kept"`        // how long records are locked at least
}

// Vault is what was found in one vault.
type Vault struct {
	Name        string `json:"name"`
	URL         string `json:"url"`
	Kind        string `json:"kind"`   // file, s3
	Vendor      string `json:"vendor"` // by its endpoint
	Credential  string `json:"credential"`
	Error       string `json:"error"` // why nothing can be said
	Repository  string `json:"repository"`
	Fingerprint string `json:"fingerprint"`
	Pinned      bool   `json:"pinned"` // the fingerprint was known from elsewhere than the vault

	Clock        Clock          `json:"clock"`
	Immutability Immutability   `json:"immutability"`
	Keys         Keys           `json:"keys"`
	Points       Points         `json:"points"`
	Sources      []Source       `json:"sources"`
	Runs         Runs           `json:"runs"`
	Checks       Checks         `json:"checks"`
	Marks        []Mark         `json:"marks"`
	MarkCount    int            `json:"marks_count"`
	Holds        []Hold         `json:"holds"`
	HoldCount    int            `json:"holds_count"`
	Stored       *Stored        `json:"stored"` // null: it could not be added up
	Evidence     Evidence       `json:"evidence"`
	Alarms       []string       `json:"alarms"`  // of the vault as a whole, as status tells them
	Noticed      []ChainFinding `json:"noticed"` // what was found on the way

	coverage *Coverage // the newest of the period that lies here
}

// Clock is the vault's clock beside this machine's.
type Clock struct {
	At     string `json:"at"`
	Offset int64  `json:"offset_seconds"` // the vault's minus this machine's
}

// Immutability is what the vault's locks are, as read back.
type Immutability struct {
	Locks      bool     `json:"locks"` // the vault keeps some at all
	ObjectLock string   `json:"object_lock"`
	Versioning string   `json:"versioning"`
	Default    string   `json:"default_retention"`
	Mode       string   `json:"mode"`       // of the locks that were read back; "mixed" where they differ
	Population int      `json:"population"` // points that are to be kept
	Sampled    int      `json:"sampled"`    // of these, whose own lock was read back
	ShortOnes  []string `json:"short_points"`
	Seed       string   `json:"seed"`  // with which the sample was drawn
	Short      int      `json:"short"` // of those, locked shorter than the point is kept
	Earliest   string   `json:"earliest_until"`
	Latest     string   `json:"latest_until"`
}

// Keys are public halves, and how they changed.
type Keys struct {
	Recipients []string    `json:"recipients"` // that can restore, in short form
	Owners     int         `json:"owners"`     // that sign changes of keys; 0: the host key does
	Reporters  []KeyHolder `json:"reporters"`
	Changes    []Change    `json:"changes"`
}

// KeyHolder is a reporter of the repository.
type KeyHolder struct {
	Name string `json:"name"`
	Role string `json:"role"`
	Key  string `json:"key_sha256"`
}

// Change is one descriptor of the chain of keys.
type Change struct {
	Number  int    `json:"number"`
	Arrived string `json:"arrived_at"`
	SHA256  string `json:"sha256"`
}

// Points are all points of a vault.
type Points struct {
	Total      int     `json:"total"`
	Complete   int     `json:"complete"`
	Incomplete int     `json:"incomplete"`
	Unreadable int     `json:"unreadable"`
	Distrusted int     `json:"distrusted"`
	Marked     int     `json:"marked"`
	Months     []Month `json:"months"` // of the period
}

// Month is what came in one month.
type Month struct {
	Month      string `json:"month"` // 2026-11
	Complete   int    `json:"complete"`
	Incomplete int    `json:"incomplete"`
}

// Source is one source in one vault. The members up to Alarms are those of `status --json`, and say the same.
type Source struct {
	Source     string            `json:"source"`
	Configured bool              `json:"configured"`
	Point      string            `json:"point"`
	TakenAt    string            `json:"taken_at"`
	Age        *int64            `json:"age_seconds"`
	RPOMet     *bool             `json:"rpo_met"`
	RetainTo   string            `json:"retain_until"`
	Held       string            `json:"held_until"`
	Protected  string            `json:"protected_until"`
	Verified   map[string]string `json:"verified"`
	DrilledAt  string            `json:"drilled_at"`
	Alarms     []string          `json:"alarms"`

	Short      string  `json:"short"` // why the newest point is not protected as long as it is kept
	Mode       string  `json:"mode"`
	Kind       string  `json:"source_kind"`
	Entries    int64   `json:"entries"` // of the newest complete point
	Bytes      int64   `json:"bytes"`
	Missing    int64   `json:"missing"`
	Newest     *Newest `json:"newest"` // the newest point of all, where that is another one
	LastRunAt  string  `json:"last_run_at"`
	LastRun    string  `json:"last_run"`
	Kept       int     `json:"points"`               // in the vault
	Complete   int     `json:"complete"`             // of the period
	Incomplete int     `json:"incomplete"`           // of the period
	Oldest     string  `json:"oldest"`               // when the oldest in the vault was signed
	FromRuns   int     `json:"complete_from_runs"`   // complete points of the period that only records of runs tell of any more
	Achieved   *int64  `json:"achieved_rpo_seconds"` // the oldest that the newest complete point ever was in the period; null: not known
	JudgedFrom string  `json:"judged_from"`          // since when it is known how old that was
	Gaps       []Gap   `json:"gaps"`                 // longer than allowed, the longest first
	GapCount   int     `json:"gaps_count"`
	Runs       Runs    `json:"runs"`
}

// Newest is the newest point of a source where that is not complete or is marked.
type Newest struct {
	Point    string   `json:"point"`
	SignedAt string   `json:"signed_at"`
	Status   string   `json:"status"`
	Entries  int64    `json:"entries"`
	Missing  int64    `json:"missing"`
	Marks    []string `json:"marks"`
}

// Gap is a time in which the newest complete point grew older than allowed.
type Gap struct {
	From    string `json:"from"` // when the point was taken
	To      string `json:"to"`   // when the next one was there; of the last, the end of the period
	Seconds int64  `json:"seconds"`
}

// Runs are the runs of the period that left records.
type Runs struct {
	Records    int   `json:"records"`
	Complete   int   `json:"complete"`
	Incomplete int   `json:"incomplete"`
	Failed     int   `json:"failed"`
	Alarms     int   `json:"alarms"`
	BytesRead  int64 `json:"bytes_read"`
	Stored     int64 `json:"bytes_stored"`
	Missing    int64 `json:"missing_entries"` // summed over runs
}

// Checks are what was done to find out whether the copy holds.
type Checks struct {
	Verifications []Verification `json:"verifications"` // of the period, the newest first
	VerifyCount   int            `json:"verifications_count"`
	Drills        []Drill        `json:"drills"`
	DrillCount    int            `json:"drills_count"`
	Attacks       []Attack       `json:"attacks"` // of the newest drill whose page can be read
	AttacksOf     string         `json:"attacks_of"`
	Rehearsals    []Rehearsal    `json:"rehearsals"` // restores as an exercise
	RehearsCount  int            `json:"rehearsals_count"`
	Diagnoses     []Diagnosis    `json:"diagnoses"`
	DiagnoseCount int            `json:"diagnoses_count"`
}

// Verification is one of a whole vault.
type Verification struct {
	At       string  `json:"at"`
	Reporter string  `json:"reporter"`
	Status   string  `json:"status"`
	Level    string  `json:"level"`
	Sample   float64 `json:"sample_percent"`
	Points   int64   `json:"points"`
	Objects  int64   `json:"objects"`
	Read     int64   `json:"objects_read"`
	Bytes    int64   `json:"bytes"`
	Entries  int64   `json:"entries"`
	Compared int64   `json:"entries_read"`
	Missing  int64   `json:"missing"`
	Damaged  int64   `json:"damaged"`
	Unlocked int64   `json:"unlocked"`
	Tampered int64   `json:"tampered"`
	Seconds  float64 `json:"seconds"`

	// Of one that read the part of the vault whose turn it was.
	Budget  string  `json:"budget"` // of a day; empty: it was no such
	Days    int64   `json:"rotation_days"`
	Covered float64 `json:"rotation_covered"` // percent of what is living that was read since it was stored
	Oldest  string  `json:"rotation_oldest"`
}

// Drill is one attack as an exercise.
type Drill struct {
	At       string         `json:"at"`
	Reporter string         `json:"reporter"`
	Status   string         `json:"status"`
	ID       string         `json:"id"`
	Attacks  int            `json:"attacks"`
	Counts   map[string]int `json:"counts"`
	Page     string         `json:"page"` // its name in the vault
	Seconds  float64        `json:"seconds"`
}

// Rehearsal is one restore as an exercise: of a sample of a point, or of all of it.
type Rehearsal struct {
	At           string   `json:"at"`
	Reporter     string   `json:"reporter"`
	Status       string   `json:"status"` // ok, incomplete, check_failed, bad
	Source       string   `json:"source"`
	Point        string   `json:"point"`
	Seed         string   `json:"seed"` // empty: everything was restored
	Whole        bool     `json:"whole"`
	Entries      int64    `json:"entries"` // of the point, as far as a folder holds them
	Bytes        int64    `json:"bytes"`
	Compared     int64    `json:"compared"` // the sample
	Bad          int64    `json:"bad"`
	Beside       int64    `json:"beside"` // compared beside the sample
	BesideBad    int64    `json:"beside_bad"`
	Lost         int64    `json:"lost"` // entries of pages of the manifest that are lost
	Untested     int64    `json:"untested"`
	TooLarge     int64    `json:"too_large"`
	Missing      int64    `json:"missing"`
	BoundOf      int64    `json:"bound_of"` // of how many entries the bound speaks
	Most         float64  `json:"bad_percent_at_most"`
	Confidence   float64  `json:"confidence_percent"`
	Restore      *float64 `json:"restore_seconds"` // of all of it; null: not known
	RestoreLow   *float64 `json:"restore_seconds_low"`
	RestoreHigh  *float64 `json:"restore_seconds_high"`
	Measured     bool     `json:"restore_measured"` // it was all restored, and timed
	Checks       int      `json:"checks"`
	ChecksFailed int      `json:"checks_failed"`
	Seconds      float64  `json:"seconds"` // that the rehearsal took
	Statement    []string `json:"statement"`
}

// Attack is one check of a drill, with the last answer that the vendor gave.
type Attack struct {
	Check     string `json:"check"`
	Severity  string `json:"severity"`
	Seen      string `json:"seen"`
	Status    int    `json:"http_status"`
	Code      string `json:"code"`
	RequestID string `json:"request_id"`
	At        string `json:"at"`
}

// Diagnosis is one visit of doctor.
type Diagnosis struct {
	At        string   `json:"at"`
	Reporter  string   `json:"reporter"`
	Status    string   `json:"status"`
	OK        int      `json:"ok"`
	Info      int      `json:"info"`
	NotTested int      `json:"not_tested"`
	Warning   int      `json:"warning"`
	Critical  int      `json:"critical"`
	Findings  []string `json:"findings"` // what was not ok
}

// Mark is a point that the guard marked.
type Mark struct {
	Source   string   `json:"source"`
	Point    string   `json:"point"`
	SignedAt string   `json:"signed_at"`
	Marks    []string `json:"marks"`
	State    string   `json:"state"` // open, acknowledged, over
	Rules    []string `json:"rules"`
	By       string   `json:"acknowledged_by"`
	AckedAt  string   `json:"acknowledged_at"`
	Reason   string   `json:"reason"`
}

// Hold is a point that is held longer than it is kept.
type Hold struct {
	Source   string `json:"source"`
	Point    string `json:"point"`
	SignedAt string `json:"signed_at"`
	Until    string `json:"until"`
	Over     bool   `json:"over"`
	By       string `json:"by"` // person, guard
	Reporter string `json:"reporter"`
	At       string `json:"at"`
	Reason   string `json:"reason"`
}

// Size is a number of stored objects and their bytes.
type Size struct {
	Objects int64 `json:"objects"`
	Bytes   int64 `json:"bytes"`
}

// Stored is what lies in the vault. The sizes are those of `stats --json`.
type Stored struct {
	Stored   Size  `json:"stored"`
	Needed   Size  `json:"needed"`
	Unneeded Size  `json:"unneeded"`
	Records  Size  `json:"records"`
	Other    Size  `json:"other"`
	Missing  Size  `json:"missing"`
	Over     int   `json:"points_over"`
	Unread   int   `json:"unread"`
	Arrived  []Sum `json:"arrived"`          // what lies there now, by the month in which it came
	Expiring []Sum `json:"expiring"`         // what kept points need, by the month after which none does
	Newest   Size  `json:"needed_by_newest"` // what has no such month: the newest points need it
	Cost     *Cost `json:"cost"`             // null: no prices are known
}

// Sum is what came, or ends, in a month.
type Sum struct {
	Month string `json:"month"`
	Bytes int64  `json:"bytes"`
	Total int64  `json:"total"` // up to and with it; of what ends: what is left behind it
}

// Cost is what the storage costs a month, by a table of prices.
type Cost struct {
	Amount   float64 `json:"amount"`
	Currency string  `json:"currency"`
	PricesOf string  `json:"prices_of"`
}

// Evidence is the records of a vault.
type Evidence struct {
	Series   []Series        `json:"series"`
	Records  int             `json:"records"`
	Types    []TypeCount     `json:"types"`
	Findings []ChainFinding  `json:"findings"`
	Found    int             `json:"findings_count"`
	Reports  []Made          `json:"reports"` // the newest first
	Count    int             `json:"reports_count"`
	Chains   []ReportFinding `json:"report_findings"`
	Newer    int             `json:"newer"` // a newer program wrote them: only that they are there is known
}

// Series is the count of one reporter.
type Series struct {
	Reporter string `json:"reporter"`
	Series   string `json:"series"`
	Records  int    `json:"records"`
	Last     int    `json:"last"`
	At       string `json:"last_at"`
	SHA256   string `json:"last_sha256"`
}

// TypeCount is how many records of a type there are.
type TypeCount struct {
	Type   string `json:"type"`
	Count  int    `json:"count"`
	Newest string `json:"newest"`
}

// ChainFinding is something that is wrong with a stored object, or with a series of records.
type ChainFinding struct {
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Detail string `json:"detail"`
}

// Made is a report as its record names it.
type Made struct {
	Reporter string `json:"reporter"`
	At       string `json:"at"`
	Record   string `json:"record"` // its name in the vault
	Line
}

// ReportFinding is something that is wrong with the sequence of reports.
type ReportFinding struct {
	Reporter string `json:"reporter"`
	Number   int    `json:"number"`
	Text     string `json:"text"`
}

// Line is what the record of a report says of it: the one line of its body.
type Line struct {
	Number   int      `json:"number"`
	Figures  string   `json:"figures"`
	Page     string   `json:"page"`
	Previous string   `json:"previous"` // figures of the report before; empty: there is none
	From     string   `json:"from"`
	To       string   `json:"to"`
	Verdict  Verdict  `json:"verdict"`
	Vaults   []string `json:"vaults"`
}
