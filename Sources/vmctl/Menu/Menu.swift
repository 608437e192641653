import ArgumentParser
import Foundation
import HostNetwork
import Management

struct Menu: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "The machines on a full screen, for operators: to see, start, stop, change and move them.",
    discussion: """
      Keys: arrows choose a machine, Enter lists what can be done with it, and each of that has a letter. a adds a machine or \
      makes one a service, d removes, s starts, t stops, c is the console (Ctrl-] comes back), e opens the definition in \
      $VISUAL or $EDITOR and keeps it if it is right, p the stop script, l shows the log, r what the console has said while \
      nobody was connected, i all there is to say, m teleports, \
      b has another host go on when this one fails (vmctl remus, which stays without the menu), shows how that stands, hands \
      over and ends it, \
      v saves the state, q leaves. It asks before anything that loses something.

      Any terminal of at least 40 columns and 10 rows will do, from a VT100 on.
      """)

  func run() throws {
    let services = try ServiceArgument.services
    // What is wrong with the machines is told before the screen is taken.
    let list = try services.list()
    let screen = try CursesScreen(
      "the menu", instead: "see vmctl service list", smallest: MenuModel.smallest)
    let session = MenuSession(services, screen, MenuModel(list))
    let signals = SignalWatch([SIGTERM, SIGHUP]) { session.end() }
    defer { withExtendedLifetime(signals) {} }
    session.run()
    screen.close()
  }
}

/// Joins the menu's model to a terminal and to the host's machines.
private final class MenuSession: @unchecked Sendable {
  private let services: Services
  private let actions: MenuActions
  private let screen: CursesScreen
  private var model: MenuModel
  private var drawn: MenuScreen?
  private var hasEnded = false
  /// What threads beside this one have to say.
  private let mailbox = Mailbox()
  /// Guarded by the mailbox.
  private let lists = DispatchQueue(label: "vmctl.menu.list")
  private var isListing = false

  init(_ services: Services, _ screen: CursesScreen, _ model: MenuModel) {
    self.services = services
    self.screen = screen
    self.model = model
    actions = MenuActions(services)
  }

  func end() { mailbox.put(.key(.control("c")), ends: true) }

  func run() {
    take(.size(columns: screen.size.columns, rows: screen.size.rows))
    var nextTick = ContinuousClock.now + .seconds(1)
    while !hasEnded {
      draw()
      let left = max(0, Int(ContinuousClock.now.duration(to: nextTick) / .milliseconds(1)))
      guard CursesScreen.wait(mailbox.descriptor, milliseconds: Int32(left + 1)) else { return }
      if mailbox.hasEnded { return }
      for event in mailbox.take() { take(event) }
      while !hasEnded, let input = screen.input() {
        switch input {
        case .key(let key): take(.key(key))
        case .resized: take(.size(columns: screen.size.columns, rows: screen.size.rows))
        }
      }
      if ContinuousClock.now >= nextTick {
        nextTick = ContinuousClock.now + .seconds(1)
        take(.tick)
      }
    }
  }

  private func draw(all: Bool = false) {
    let new = MenuScreen(model, columns: CursesScreen.columns)
    guard all || new != drawn else { return }
    screen.show(new.lines, cursor: new.cursor, all: all)
    drawn = new
  }

  private func take(_ event: MenuEvent) {
    if case .list = event { isListing = false }
    if case .listFailed = event { isListing = false }
    for effect in model.take(event) { perform(effect) }
  }

  private func perform(_ effect: MenuEffect) {
    switch effect {
    case .quit: hasEnded = true
    case .redraw: draw(all: true)
    case .refresh: refresh()
    case .cancel: actions.cancel()
    case .run(let operation): run(operation)
    case .read(let reading): answer { .text(reading, try self.actions.read(reading)) }
    case .console(let name): console(name)
    case .edit(let edit, let name, let again): self.edit(edit, name, again: again)
    case .dropEdit(let edit, let name):
      answer {
        let entry = try self.services.registry.find(name)
        if edit == .definition { self.services.dropEdit(entry) } else { try self.services.dropStopScriptEdit(entry) }
        return .returned("the \(edit.rawValue) is as it was")
      }
    }
  }

  /// What is quick, with an error as the answer.
  private func answer(_ body: () throws -> MenuEvent) {
    do {
      take(try body())
    } catch {
      take(.listFailed(ManagementError.line(for: error)))
    }
  }

  private func refresh() {
    guard !isListing else { return }
    isListing = true
    lists.async { [services, mailbox] in mailbox.put(Self.list(services)) }
  }

  private static func list(_ services: Services) -> MenuEvent {
    do {
      return .list(try services.list())
    } catch {
      return .listFailed(ManagementError.line(for: error))
    }
  }

  private func run(_ operation: MenuOperation) {
    Thread.detachNewThread { [services, lists, actions, mailbox] in
      let end: MenuEvent
      do {
        end = .done(try actions.perform(operation) { mailbox.put(.progress($0)) })
      } catch {
        end = .failed(ManagementError.line(for: error))
      }
      // Whoever reads that it is done may ask for what comes next: the machines as they are now are there before, and behind a
      // list that was begun earlier.
      lists.sync { mailbox.put(Self.list(services)) }
      mailbox.put(end)
    }
  }

  // MARK: Programs that have the terminal

  private func console(_ name: String) {
    screen.away {
      // This program: what it has to say of a machine that has no console stays to be read.
      if !Editor.run("/proc/self/exe", ["vmctl", "console", "--", name]) { Self.pause() }
    }
    drawn = nil
    take(.returned(""))
  }

  private static func pause() {
    Terminal.write(2, "Enter goes back to the menu ")
    var byte: UInt8 = 0
    while read(0, &byte, 1) == 1, byte != 10, byte != 13 {}
  }

  private func edit(_ edit: MenuEdit, _ name: String, again: Bool) {
    drawn = nil
    do {
      let entry = try services.registry.find(name)
      let editor: (String) -> Bool = { path in self.screen.away { Editor.run(path) } }
      let hasChanged =
        edit == .definition
        ? try services.edit(entry, again: again, editor) : try services.editStopScript(entry, again: again, editor)
      take(.returned(hasChanged ? "the \(edit.rawValue) of \"\(name)\" is changed" : "nothing is changed"))
    } catch let error as RejectedEdit {
      take(.badEdit(edit, name, error.reason))
    } catch {
      take(.listFailed(ManagementError.line(for: error)))
    }
  }
}

/// Events from other threads, with a descriptor that is readable while there are some.
private final class Mailbox: @unchecked Sendable {
  private let lock = NSLock()
  private var events: [MenuEvent] = []
  private var ends = false
  private var pipe: [Int32] = [-1, -1]
  var descriptor: Int32 { pipe[0] }
  var hasEnded: Bool { lock.withLock { ends } }

  init() {
    guard Glibc.pipe(&pipe) == 0 else { return }
    for end in pipe {
      _ = fcntl(end, F_SETFD, FD_CLOEXEC)
      _ = fcntl(end, F_SETFL, O_NONBLOCK)
    }
  }

  deinit { for end in pipe where end >= 0 { close(end) } }

  func put(_ event: MenuEvent, ends: Bool = false) {
    lock.withLock {
      if ends { self.ends = true } else { events.append(event) }
    }
    var byte: UInt8 = 0
    _ = write(pipe[1], &byte, 1)
  }

  func take() -> [MenuEvent] {
    var bytes = [UInt8](repeating: 0, count: 64)
    while read(pipe[0], &bytes, bytes.count) > 0 {}
    return lock.withLock {
      defer { events = [] }
      return events
    }
  }
}
