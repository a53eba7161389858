package page

// section is one part of the page.
type section struct{ ID, Title string }

func sections() []section {
	return []section{
		{"summary", "What needs attention"}, {"identity", "This report"}, {"scope", "What is protected"}, {"targets", "Recovery point and recovery time"},
		{"completeness", "Completeness"}, {"integrity", "Integrity"}, {"rehearsals", "Rehearsals"}, {"separation", "Separation"}, {"immutability", "Immutability"},
		{"keys", "Keys"}, {"retention", "Retention and holds"}, {"guard", "Alarms of the guard"}, {"stored", "What is stored, and cost"}, {"evidence", "The evidence itself"},
		{"signoff", "Sign-off"}, {"mappings", "Appendix: rules"}, {"glossary", "Glossary"},
	}
}

func sectionTitle(id string) string {
	for _, s := range sections() {
		if s.ID == id {
			return s.Title
		}
	}
	return id
}

// mapping says in which sections a reader of a rule finds what it asks about.
type mapping struct {
	Rule, Asks string
	Sections   []string
	Source     string
}

func mappings() []mapping {
	return []mapping{
		{"SOC 2, A1.2", "backup processes and recovery infrastructure that meet availability objectives", []string{"scope", "targets", "completeness", "immutability", "stored"}, "AICPA, Trust Services Criteria (TSP section 100), A1.2"},
		{"SOC 2, A1.3", "tests of recovery procedures", []string{"rehearsals", "integrity"}, "AICPA, Trust Services Criteria (TSP section 100), A1.3"},
		{"ISO/IEC 27001:2022, A.8.13", "backup copies that are kept and tested under a policy", []string{"scope", "retention", "integrity", "rehearsals"}, "ISO/IEC 27001:2022, Annex A, control 8.13"},
		{"NIS2, Implementing Regulation (EU) 2024/2690, 4.2", "backup and redundancy management: recovery times, completeness, safe places, checks, tests", []string{"targets", "completeness", "separation", "integrity", "rehearsals"}, "Commission Implementing Regulation (EU) 2024/2690, Annex, point 4.2"},
		{"DORA, Article 12", "backup policies, restoration and recovery, separation from the source system", []string{"scope", "targets", "separation", "rehearsals"}, "Regulation (EU) 2022/2554, Article 12"},
		{"NIST SP 800-53 rev. 5, CP-9", "system backups: frequency, confidentiality, integrity, availability", []string{"scope", "targets", "integrity", "immutability", "keys"}, "NIST SP 800-53 revision 5, control CP-9"},
		{"NIST SP 800-53 rev. 5, CP-10", "recovery to a known state within the declared times", []string{"targets", "rehearsals"}, "NIST SP 800-53 revision 5, control CP-10"},
		{"HIPAA, 164.308(a)(7)", "contingency plan: data backup, disaster recovery, testing", []string{"scope", "completeness", "rehearsals"}, "45 CFR 164.308(a)(7)"},
		{"SEC Rule 17a-4(f)", "electronic records that are not rewriteable and not erasable, or an audit trail", []string{"immutability", "retention", "evidence"}, "17 CFR 240.17a-4(f)"},
	}
}

type term struct{ Word, Means string }

func glossary() []term {
	return []term{
		{"Source", "What is protected: a bucket, disk snapshots, machines, a directory."},
		{"Vault", "A place, at another vendor, that keeps the copy: a bucket with object lock, or a directory, which keeps no locks."},
		{"Repository", "The data structure in a vault. Its fingerprint is the SHA-256 of its first descriptor."},
		{"Recovery point", "One source as it was at one moment; what is listed, verified and restored."},
		{"Complete", "Everything that the source showed was kept in the point."},
		{"Entry", "One thing in a point: a version of an object, a file, an image of a disk, a definition of a machine."},
		{"Lock, retain-until", "The time before which the vault refuses to delete one version of an object. In mode compliance nobody can shorten it; in mode governance an administrator with a right of its own can."},
		{"Slack", "Locks reach this much further than needed, so that they need to be renewed rarely."},
		{"Hold", "A point kept longer than its retention, by a person or by the guard, with a reason."},
		{"RPO", "Recovery point objective: how much of the newest data may be lost at most, in time."},
		{"RTO", "Recovery time objective: how long a restore may take at most."},
		{"Guard", "What compares each run with what is usual, and marks points that look like harm."},
		{"Record", "What a run, a check or a report left in the vault as evidence: signed, numbered, with the hash of the record before."},
		{"Reporter", "Who signs records, with a key that can do nothing else."},
		{"Restore key", "The private key that opens content. It is kept away from the machine that makes the copies."},
		{"Owner key", "A key that has to sign every change of the repository's keys."},
		{"Drill", "An attack on a vault with the job's own key, as an exercise, on objects made for it."},
		{"Rehearsal", "A restore as an exercise: of a random sample of a point, or of all of it, into an empty folder, compared with what the point says."},
		{"SHA-256", "A number that stands for some bytes: other bytes have another one."},
	}
}
