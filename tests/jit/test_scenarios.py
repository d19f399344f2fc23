"""What the runtime's specification wants to see tested, and where that is: a list that cannot rot."""

from __future__ import annotations

import importlib

import pytest

SCENARIOS = {
    "jit.test_artifacts": {
        "no store": "without_a_store_a_temporary_one_keeps_what_is_prepared",
        "a missing store": "a_store_that_is_missing_is_a_reason_and_is_made_when_needed",
        "an empty store": "an_empty_store",
        "a failing store, then a good one": "a_store_that_cannot_be_read_is_an_error_and_may_succeed_later",
        "clear during a store search": "a_clear_discards_what_is_being_looked_for_in_the_store",
        "clear of the store while it ends": "who_waits_for_a_clear_is_told_when_the_backend_ends_meanwhile",
        "prepare, restart, preload": "prepare_publishes_and_the_next_process_compiles_nothing",
        "prepare a batch": "a_batch_shares_a_library",
        "persisted, not resident": "persisted_but_not_resident_is_not_compiled",
        "resident from the JIT, then AOT": "what_is_resident_from_the_jit_is_published_all_the_same",
        "corrupt, truncated": "damage_is_a_reason_and_the_code_is_compiled",
        "foreign CPU, foreign ABI": "what_is_not_for_this_process_is_a_reason",
        "foreign compiler": "code_of_another_compiler_is_counted_once_and_compiled_anew",
        "a store that fails in mid-run": "a_store_that_fails_costs_the_publication_and_nothing_else",
        "deleted, replaced, truncated in use": "code_runs_on_whatever_happens_to_its_file",
    },
    "jit.test_lookup": {
        "look-up when disabled": "a_disabled_backend_has_no_thread_and_no_process",
        "look-up on a miss": "a_miss_says_not_ready",
        "look-up toggled": "look_ups_follow_the_switch",
        "hot promotion": "a_key_becomes_hot",
        "below the threshold": "below_the_threshold_nothing_is_compiled",
        "too long, empty": "what_is_never_compiled_is_ineligible",
        "blocking mode": "the_blocking_mode_compiles_and_waits",
        "zero workers": "with_no_workers_nothing_is_compiled",
        "two forks of one code": "two_forks_of_one_code_have_their_own_programs",
        "exact statistics": "statistics_are_exact_with_eight_threads",
        "a full queue of events": "a_full_queue_of_events_drops_and_counts",
    },
    "jit.test_compile": {
        "sync compile blocks": "a_synchronous_request_waits_for_the_program",
        "four threads, one compilation": "four_threads_that_want_one_key_cause_one_compilation",
        "clear during work": "a_clear_discards_what_was_begun_and_wakes_waiters_once",
        "admitted again after a clear": "a_key_admitted_again_after_a_clear_is_not_answered_by_the_old_result",
        "disabled during compilation": "what_was_begun_is_finished_when_the_backend_is_disabled",
        "a callback that raises": "a_callback_that_raises_is_disabled_and_nothing_else_happens",
        "a full queue of requests": "requests_wait_for_room_and_for_nothing_else",
        "10,000 pauses before the start": "pause_and_resume_ten_thousand_times_before_the_start",
    },
    "jit.test_eviction": {
        "idle eviction": "idle_code_is_given_back",
        "budget eviction, cold first": "the_least_recently_used_code_goes_first_over_the_budget",
        "a held program survives": "a_held_program_survives_and_is_not_counted_as_given_back",
    },
    "jit.test_life": {
        "the last reference": "the_last_reference_ends_threads_and_processes",
        "fork": "after_fork_the_child_has_a_disabled_backend_with_its_map",
        "exit with jobs running": "the_interpreter_exits_with_jobs_running",
    },
    "jit.test_faults": {
        "signal, deadline, memory limit": "a_fault_costs_its_job_and_no_other",
        "a worker killed from outside": "a_worker_killed_from_outside_is_replaced",
        "a worker stopped from outside": "a_worker_lost_while_it_waits_costs_no_job",
        "without the compiler": "everything_but_compilation_works_without_the_compiler_installed",
    },
    "jit.test_stress": {
        "the host killed": "a_host_that_is_killed_leaves_no_process",
        "everything at random": "threads_that_do_everything_at_random",
        "faults in a row": "faults_in_a_row_leak_nothing",
    },
    "runtime.test_refusals": {
        "corrupt, anywhere": "a_flipped_bit_is_found_wherever_it_is",
        "swapped": "a_library_swapped_for_another_published_one",
    },
    "unit.runtime.test_config": {
        "defaults as documented": "the_documented_defaults_are_those_of_the_code",
    },
}
ROWS = [
    pytest.param(module, name, id=scenario) for module, names in SCENARIOS.items() for scenario, name in names.items()
]


@pytest.mark.parametrize(("module", "name"), ROWS)
def test_every_scenario_of_the_specification_has_its_test(module: str, name: str) -> None:
    assert callable(getattr(importlib.import_module(f"tests.{module}"), f"test_{name}"))
