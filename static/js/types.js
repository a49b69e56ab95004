/**
 * The wire of /v1/watch and /v1/models (docs/protocol.md), and what a view gets from the shell.
 *
 * @typedef {{name: string, dtype: string, shape: (number | null)[], optional?: boolean}} TensorInfo
 *
 * @typedef {{version: string, state: string, labels?: string[], reason?: string}} VersionInfo
 *
 * @typedef {object} ModelInfo
 * @property {string} name
 * @property {string} version
 * @property {string} state
 * @property {TensorInfo[]} [inputs]
 * @property {TensorInfo[]} [outputs]
 * @property {{length: number, hop: number}} [window]
 * @property {Record<string, string[]>} [labels]  names of classes, by output
 * @property {string} [reason]
 * @property {VersionInfo[]} [versions]
 * @property {{model: string, version: string}[]} [steps]
 *
 * @typedef {{queue: number, run: number, total: number, batch: number}} Timing  microseconds; rows of the run
 *
 * @typedef {object} Update
 * @property {string} topic
 * @property {number} n  counts the topic's predictions
 * @property {number} ts  unix seconds
 * @property {string} [version]
 * @property {number | string} [id]
 * @property {string | Record<string, string>} [label]
 * @property {Record<string, unknown>} [outputs]
 * @property {Timing} [us]
 * @property {Record<string, unknown>} [inputs]
 * @property {boolean} [ended]
 *
 * @typedef {{p50: number, p90: number, p99: number}} Quantiles  milliseconds
 *
 * @typedef {object} ModelStats
 * @property {string} name
 * @property {string} version
 * @property {string} state
 * @property {number} queue_depth
 * @property {number} predictions
 * @property {number} predictions_per_second
 * @property {Record<string, number>} batch_rows  batches of the last seconds by upper bound of their rows
 * @property {Quantiles | null} queue_ms
 * @property {Quantiles | null} run_ms
 * @property {Quantiles | null} total_ms
 *
 * @typedef {object} Stats
 * @property {number} uptime_seconds
 * @property {number} memory_bytes
 * @property {number} cpu  cores
 * @property {number} loop_lag_ms
 * @property {number} sockets
 * @property {number} watchers
 * @property {number} keys
 * @property {number} events
 * @property {number} events_per_second
 * @property {number} predictions
 * @property {number} predictions_per_second
 * @property {Record<string, number>} errors  since the start, by code
 * @property {ModelStats[]} models
 *
 * @typedef {object} Alert
 * @property {number} id
 * @property {number} ts
 * @property {string} rule
 * @property {string} model
 * @property {string} [version]
 * @property {string} [key]
 * @property {string} topic
 * @property {string} [label]
 * @property {string} [output]
 * @property {number} [value]
 * @property {number} [above]
 * @property {number} [below]
 * @property {number} [count]
 * @property {number | string} [event_id]
 *
 * @typedef {Record<string, any>} Message  anything that the server may send
 *
 * @typedef {object} App
 * @property {import("./account.js").Account} account
 * @property {import("./connection.js").Connection} connection
 * @property {import("./store.js").Store} store
 * @property {(fresh?: boolean) => Promise<ModelInfo[]>} models  rejects where the server cannot be reached
 * @property {(hash: string) => void} go
 *
 * @typedef {() => void} Stop
 * @typedef {(root: HTMLElement, app: App, argument: string) => Stop} Mount  returns what takes the view down
 */

export {};
