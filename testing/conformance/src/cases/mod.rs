//! The cases, by what they are about.

pub mod chains;
pub mod concurrent;
pub mod destroy;
pub mod disks;
pub mod export;
pub mod import;
pub mod orchestration;
pub mod paths;
pub mod scratch;

/// Makes a test of each case. The argument is a function that takes the name of a case and makes a
/// [`Bench`](crate::Bench) for it, or `None` when it cannot run here (and has said so).
#[macro_export]
macro_rules! conformance {
    ($bench:path) => {
        $crate::conformance_tests! {
            $bench;
            import:
                makes_a_base_layer
                makes_a_layer_over_a_parent
                takes_an_empty_folder
                takes_a_layer_without_files
                refuses_a_folder_with_something_in_it
                refuses_to_import_twice
                refuses_a_missing_source
                refuses_a_missing_folder_around_the_layer
                refuses_its_own_source
                refuses_a_layer_inside_its_source
                refuses_a_source_without_the_description_of_files
                refuses_a_source_without_the_description_of_a_directory
                refuses_a_source_without_hives
                refuses_a_source_without_one_of_the_hives
                refuses_a_source_without_files
                refuses_a_source_without_tombstones
                refuses_a_blob_that_is_cut_off
                refuses_an_empty_blob
                refuses_tombstones_of_another_version
                leaves_the_source_as_it_is
                the_same_source_makes_two_layers;
            chains:
                an_id_depends_on_the_last_component_only
                a_chain_goes_from_child_to_parent
                refuses_a_missing_parent
                refuses_the_wrong_order
                refuses_a_chain_without_its_base
                refuses_a_chain_with_a_gap
                refuses_a_parent_of_another_chain
                refuses_another_id_of_a_parent
                refuses_an_id_that_comes_twice
                a_hundred_layers_over_each_other;
            export:
                gives_a_base_layer_back
                gives_a_layer_back_without_its_parents
                keeps_empty_files
                keeps_large_files
                keeps_attributes
                keeps_extended_attributes
                keeps_alternate_streams
                keeps_reparse_points
                keeps_removed_paths
                keeps_names_beyond_ascii
                what_comes_out_goes_in_again
                refuses_a_missing_destination
                refuses_a_destination_with_something_in_it
                refuses_a_missing_layer
                refuses_a_layer_without_its_chain
                refuses_the_chain_of_another_layer
                refuses_a_scratch_that_is_not_attached;
            destroy:
                removes_a_layer_and_nothing_else
                refuses_a_missing_layer
                makes_room_for_another_layer
                refuses_a_layer_in_use
                refuses_an_attached_scratch;
            scratch:
                is_attached_and_detached_again_and_again
                lies_over_a_hundred_layers
                two_share_their_parents
                refuses_to_be_initialized_without_parents
                refuses_to_be_initialized_over_a_missing_parent
                refuses_to_be_initialized_over_the_wrong_order
                refuses_to_be_initialized_twice
                refuses_to_be_attached_uninitialized
                refuses_to_be_attached_over_other_parents
                refuses_to_be_attached_over_some_of_its_parents
                refuses_to_be_attached_over_the_wrong_order
                refuses_to_be_attached_by_another_id
                refuses_to_be_attached_twice
                refuses_to_be_detached_unattached
                refuses_to_be_detached_when_it_is_missing
                a_finished_layer_cannot_be_attached;
            disks:
                is_made_and_opened
                refuses_to_replace_a_file
                refuses_a_missing_parent_disk
                refuses_to_open_a_missing_disk
                refuses_to_be_formatted_twice
                has_a_mount_path_while_it_is_attached
                refuses_to_be_attached_twice
                a_base_layer_is_set_up_once
                a_base_volume_is_refused_where_there_are_no_disks;
            paths:
                names_in_any_script
                transport_folders_by_verbatim_paths
                a_path_of_300_characters
                a_long_name
                a_nul_in_a_path_is_refused;
            orchestration:
                a_scratch_is_made_and_destroyed
                a_scratch_that_is_dropped_is_detached
                a_scratch_over_missing_parents_leaves_nothing
                a_layer_comes_from_its_archive
                an_archive_that_is_cut_off_leaves_nothing;
            concurrent:
                layers_are_imported_side_by_side
                one_of_many_imports_into_a_folder_wins
                scratches_are_attached_side_by_side
                one_of_many_attachments_of_a_scratch_wins;
        }
    };
}

/// As [`conformance!`](crate::conformance), of the cases that look at the files of attached scratches. Attributes for the tests
/// may stand behind the function.
#[macro_export]
macro_rules! conformance_of_views {
    ($bench:path $(, #[$attribute:meta])?) => {
        mod views {
            use super::*;
            $crate::conformance_tests! {
                $bench $(, #[$attribute])?;
                export: gives_what_a_scratch_has_changed;
                scratch: shows_its_parents_and_keeps_what_is_written;
            }
        }
    };
}

/// Makes tests of the cases that are named.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_tests {
    ($bench:path; $($cases:tt)*) => { $crate::conformance_tests! { $bench, #[cfg(all())]; $($cases)* } };
    ($bench:path, #[$attribute:meta]; $($module:ident: $($case:ident)*;)*) => {$(
        mod $module {
            use super::*;
            $(
                #[test]
                #[$attribute]
                fn $case() {
                    if let Some(bench) = $bench(concat!(stringify!($module), "_", stringify!($case))) {
                        $crate::cases::$module::$case(&bench);
                    }
                }
            )*
        }
    )*};
}
