import Machine

/// What the consoles of a machine are called.
public enum ConsoleName {
  /// For people.
  static func text(_ slot: Int) -> String { isVirtio(slot) ? "virtio console" : "uart \(slot)" }

  /// The option that says what it is connected to.
  static func option(_ slot: Int) -> String { isVirtio(slot) ? "--virtio-console-mode" : "--uart-mode\(slot)" }

  /// For programs.
  public static func key(_ slot: Int) -> String { isVirtio(slot) ? "virtioconsole" : "uart\(slot)" }

  private static func isVirtio(_ slot: Int) -> Bool { slot == MachineConfiguration.virtioConsoleSlot }
}
