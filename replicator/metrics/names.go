package metrics

// help says what each metric means, by its name without Prefix. docs/operations.md has the same list, and docs/metrics the rules
// and the dashboard that use it; tests hold them together.
func help() map[string]string {
	return map[string]string{
		// Of the last run of a source: source, vault.
		"last_run_timestamp_seconds":           "When the last run of the source ended, whatever came of it.",
		"last_success_timestamp_seconds":       "When the last run ended that made a complete point in the vault.",
		"last_run_success":                     "1 if the last run made a complete point in the vault, and nothing in it was alarming.",
		"last_run_duration_seconds":            "How long the last run took for the source.",
		"last_run_entries":                     "Entries of the source in the last run.",
		"last_run_missing_entries":             "Entries that the last run could not read.",
		"last_run_added_entries":               "Entries that were new in the last run.",
		"last_run_changed_entries":             "Entries that had changed in the last run.",
		"last_run_deleted_entries":             "Entries that were gone from the source in the last run.",
		"last_run_size_bytes":                  "Size of all entries of the source in the last run.",
		"last_run_read_bytes":                  "Bytes that the last run read from the source.",
		"last_run_stored_bytes":                "Bytes that the last run stored in the vault.",
		"last_run_alarms":                      "Alarms that the last run of the source raised.",
		"point_taken_timestamp_seconds":        "When the newest complete point was taken: its age is the time since.",
		"point_retain_until_timestamp_seconds": "Until when the newest complete point is kept.",
		"point_locked_until_timestamp_seconds": "Until when the newest complete point is locked; absent where the vault keeps no locks.",

		// Of `holdfast status`: source, vault.
		"status_timestamp_seconds": "When status last looked at the source in the vault.",
		"status_alarms":            "Things that status says are to be looked at.",
		"protection_short":         "1 if the newest complete point is not locked as long as it is to be kept.",
		"point_missing":            "1 if the vault has no complete point of the source.",

		// Of `holdfast watch`: vault.
		"watch_timestamp_seconds": "When watch last looked at the whole vault.",
		"watch_findings":          "Things that watch tells of the vault and of sources in it.",

		// Of what a vault was put through: vault; level; finding.
		"verified_timestamp_seconds":   "When all of the vault was last verified at this level, and held.",
		"last_verify_findings":         "What the last verification of the vault found, by kind.",
		"last_verify_duration_seconds": "How long the last verification of the vault took.",
		"last_drill_timestamp_seconds": "When the vault was last attacked as an exercise.",
		"last_drill_held":              "1 if no attack of the last drill got through, and the key had no right too many.",
		"last_renew_extended_locks":    "Locks that the last renewal lengthened.",
		"last_renew_failed_locks":      "Locks that the last renewal could not lengthen.",
		"last_prune_deleted_bytes":     "Bytes that the last prune deleted.",

		// Of each command as a whole: command, scope.
		"command_timestamp_seconds":              "When the command last ended.",
		"command_last_success_timestamp_seconds": "When the command last ended with exit code 0.",
		"command_exit_code":                      "The exit code that the command last ended with.",
		"command_duration_seconds":               "How long the command last took.",

		// Of the configuration, and of receivers.
		"target_rpo_seconds":                          "How old a newest complete point may be, as targets.rpo says; absent where nothing is asked for.",
		"notification_failing":                        "1 if the last message to the receiver did not get there.",
		"notification_last_success_timestamp_seconds": "When the receiver last got something; 0: never.",
		"build_info":                                  "1; the version of the program that wrote this last is a label.",
	}
}
