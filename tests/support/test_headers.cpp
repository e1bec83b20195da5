// SPDX-License-Identifier: Apache-2.0
// Nothing: what tests include is compiled for its sake.
