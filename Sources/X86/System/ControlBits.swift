/// CR0 (Intel SDM vol. 3A, 2.5).
enum CR0 {
  static let pe: UInt64 = 1 << 0
  static let mp: UInt64 = 1 << 1
  static let em: UInt64 = 1 << 2
  static let ts: UInt64 = 1 << 3
  static let et: UInt64 = 1 << 4
  static let ne: UInt64 = 1 << 5
  static let wp: UInt64 = 1 << 16
  static let am: UInt64 = 1 << 18
  static let nw: UInt64 = 1 << 29
  static let cd: UInt64 = 1 << 30
  static let pg: UInt64 = 1 << 31
  static let defined: UInt64 = pe | mp | em | ts | et | ne | wp | am | nw | cd | pg
}

/// CR4 (Intel SDM vol. 3A, 2.5).
enum CR4 {
  static let vme: UInt64 = 1 << 0
  static let pvi: UInt64 = 1 << 1
  static let tsd: UInt64 = 1 << 2
  static let de: UInt64 = 1 << 3
  static let pse: UInt64 = 1 << 4
  static let pae: UInt64 = 1 << 5
  static let mce: UInt64 = 1 << 6
  static let pge: UInt64 = 1 << 7
  static let pce: UInt64 = 1 << 8
  static let osfxsr: UInt64 = 1 << 9
  static let osxmmexcpt: UInt64 = 1 << 10
  static let umip: UInt64 = 1 << 11
  static let fsgsbase: UInt64 = 1 << 16
  static let pcide: UInt64 = 1 << 17
  static let osxsave: UInt64 = 1 << 18
  static let smep: UInt64 = 1 << 20
  static let smap: UInt64 = 1 << 21
  /// A change of one of these drops every translation.
  static let translation: UInt64 = pse | pae | pge | pcide | smep | smap
}

/// IA32_EFER (Intel SDM vol. 3A, 2.2.1).
enum EFER {
  static let sce: UInt64 = 1 << 0
  static let lme: UInt64 = 1 << 8
  static let lma: UInt64 = 1 << 10
  static let nxe: UInt64 = 1 << 11
}

/// EFLAGS (Intel SDM vol. 1, 3.4.3).
enum EFLAGS {
  static let cf: UInt64 = 1 << 0
  static let one: UInt64 = 1 << 1
  static let pf: UInt64 = 1 << 2
  static let af: UInt64 = 1 << 4
  static let zf: UInt64 = 1 << 6
  static let sf: UInt64 = 1 << 7
  static let tf: UInt64 = 1 << 8
  static let `if`: UInt64 = 1 << 9
  static let df: UInt64 = 1 << 10
  static let of: UInt64 = 1 << 11
  static let iopl: UInt64 = 3 << 12
  static let nt: UInt64 = 1 << 14
  static let rf: UInt64 = 1 << 16
  static let vm: UInt64 = 1 << 17
  static let ac: UInt64 = 1 << 18
  static let vif: UInt64 = 1 << 19
  static let vip: UInt64 = 1 << 20
  static let id: UInt64 = 1 << 21
  static let arithmetic: UInt64 = cf | pf | af | zf | sf | of
  static let defined: UInt64 =
    arithmetic | tf | `if` | df | iopl | nt | rf | vm | ac | vif | vip | id
}
